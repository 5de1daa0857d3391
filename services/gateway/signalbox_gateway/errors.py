"""What the gateway itself refuses, as whoever asked is told."""

from collections.abc import Sequence

from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import Conflict, Forbidden, Invalid, NotFound, SignalboxError, Unauthenticated
from signalbox_common.spelling import CODE

# -- who asks --------------------------------------------------------------------------------------


class SessionEnded(Unauthenticated):
    code = "session_ended"
    detail = "The session has ended."


class BadRefreshToken(Unauthenticated):
    code = "bad_refresh_token"
    detail = "The refresh token is malformed."


class BadTicket(Unauthenticated):
    code = "bad_ticket"
    detail = "The ticket is not good, or not any more."


class OriginNotAllowed(Forbidden):
    code = "origin_not_allowed"
    detail = "This origin may not do this."


class OriginMissing(Unauthenticated):
    code = OriginNotAllowed.code
    detail = "A WebSocket with a cookie needs its Origin."


class CsrfCheckFailed(Forbidden):
    code = "csrf_check_failed"

    def __init__(self, header: str) -> None:
        super().__init__(
            f"A request with a cookie needs its Origin, or the {header} header with the value of the "
            "cookie sbx_csrf."
        )


# -- requests --------------------------------------------------------------------------------------


class TooManyRequests(SignalboxError):
    status = 429
    code = "rate_limited"
    detail = "There were too many requests; come again later."

    def __init__(self, seconds: int) -> None:
        super().__init__(retry_after=max(1, seconds))


class ProjectNotFound(NotFound):
    code = "project_not_found"
    detail = "There is no such project."


class BadIdempotencyKey(Invalid):
    code = "bad_idempotency_key"

    def __init__(self, longest: int) -> None:
        super().__init__(f"An Idempotency-Key has 1 to {longest} printable ASCII characters.")


class UnknownFields(Invalid):
    """Names that mean nothing here."""

    code = CODE

    def __init__(self, found: Sequence[FieldError]) -> None:
        super().__init__(f"{found[0].field}: {found[0].message}", errors=found)


class RoleWithoutProject(Invalid):
    code = Invalid.code
    detail = "A role is one in a project: name it, too."
    errors = (FieldError(field="role", message="needs a projectId", code="needs_project"),)


class BadEtag(Invalid):
    code = "bad_etag"
    detail = "If-Match takes an ETag of this resource."


class BadNamespace(Invalid):
    code = "bad_namespace"
    detail = "metadata.namespace: A namespace is the slug of a project."


class NotUtf8(Invalid):
    code = "not_utf8"

    def __init__(self, line: int) -> None:
        super().__init__(f"Line {line}: the text is not UTF-8.")


class UnsupportedGrantType(Invalid):
    code = "unsupported_grant_type"

    def __init__(self, supported: str) -> None:
        super().__init__(f"The grant_type here is {supported}.")


class PackageMissing(Invalid):
    code = "bad_zip"
    detail = "There is no package in this request."


class BadApplyArchive(Invalid):
    code = "bad_apply_archive"


class PackageDamaged(SignalboxError):
    code = "package_damaged"
    detail = "The package is not what it was."


# -- live ------------------------------------------------------------------------------------------


class BadPosition(Invalid):
    code = "bad_offset"
    detail = "A position is one that was answered before."


class PositionExpired(SignalboxError):
    status = 410
    code = "expired"
    detail = "What came after that position is not kept any more: begin without one."


class BadResourceVersion(Invalid):
    code = "bad_version"
    detail = "A resourceVersion is one that was answered before."


class SandboxNotFound(NotFound):
    code = "sandbox_not_found"
    detail = "There is no such sandbox."


class RepositoryNotFound(NotFound):
    code = "repository_not_found"
    detail = "There is no such repository."


class PullRequestNotFound(NotFound):
    code = "pull_request_not_found"
    detail = "There is no such pull request."


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"
    detail = "There is no such delivery."


class TaskNotFound(NotFound):
    code = "task_not_found"
    detail = "There is no such task."


class ScheduleNotFound(NotFound):
    code = "schedule_not_found"
    detail = "There is no such schedule."


class TriggerNotFound(NotFound):
    code = "trigger_not_found"
    detail = "There is no such trigger."


class NotificationNotFound(NotFound):
    code = "notification_not_found"
    detail = "There is no such notification."


class AgentNotFound(NotFound):
    code = "agent_not_found"
    detail = "There is no such agent."


class BadTeam(Invalid):
    """Of those who are to work, one works as nobody does here."""

    code = "unresolvable"
    CODES = ("unknown_shell", "unknown_collaboration", "bad_shell", code)

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class AttachmentNotFound(NotFound):
    code = "attachment_not_found"
    detail = "There is no such attachment."


class SortNeedsProject(Invalid):
    code = "sort_needs_project"
    detail = "Tasks of several projects are listed newest first: name one to have another order."


class RunNotFound(NotFound):
    code = "run_not_found"
    detail = "There is no such run."


class CredentialNotFound(NotFound):
    code = "credential_not_found"
    detail = "There is no such credential."


class PreviewEnded(SignalboxError):
    status = 410
    code = "preview_ended"
    detail = "This link has ended, or never was one."


class NotAFolder(Conflict):
    code = "not_a_folder"
    detail = "This is no folder."


class BadArchive(Invalid):
    code = "bad_archive"
    detail = "This is no archive that can be unpacked there."


class BadEventTypes(Invalid):
    code = "bad_types"

    def __init__(self, most: int) -> None:
        super().__init__(f"At most {most} types of events, separated by commas.")


class UntellableEvent(Invalid):
    code = "bad_event"
    detail = "This is no event that can be told."

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(errors=errors)


class RefTaken(Invalid):
    code = "ref_taken"
    detail = "There is a subscription of that name on this connection."


class TooManySubscriptions(Invalid):
    code = "too_many_subscriptions"

    def __init__(self, most: int) -> None:
        super().__init__(f"A connection has at most {most} subscriptions.")


class BadSubscription(Invalid):
    code = "bad_subscription"


class CheckoutFailed(Conflict):
    code = "checkout_failed"
    detail = "The checkout cannot be made."
