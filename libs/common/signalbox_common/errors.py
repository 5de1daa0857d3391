"""The one error base, and its form in reply envelopes.

An error with a status below 500 is final: asking again with the same words gives the same answer, so an
owner stores it as the reply of the command. Anything else is worth another attempt.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from signalbox_common.contracts.base import Failure, FieldError
from signalbox_common.contracts.roles import ProjectRole


class SignalboxError(Exception):
    """A failure that its reader may see: a stable code, a status and a sentence.

    Each is a class of its own, which says its code even where it is another one's.
    """

    status = 500
    code = "internal"
    detail = "Something went wrong on our side."
    errors: tuple[FieldError, ...] = ()
    resource: str | None = None
    retry_after: int | None = None
    keeps_changes = False
    """Whether what was changed before the refusal stays changed: a refusal may itself have effects."""
    forgotten = False
    """Whether a command that meets it is answered, and heard again when it comes again."""
    passing = False
    """The same for what a handler meets: it may be otherwise a moment later, and is no answer to keep."""
    about: str | None = None
    """What the request turned out to be about; for the audit log alone."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" not in cls.__dict__:
            raise TypeError(f"{cls.__name__} does not say its code")

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] | None = None,
        resource: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail or self.detail)
        self.detail = detail or self.detail
        self.errors = tuple(errors) if errors is not None else self.errors
        self.resource = resource
        self.retry_after = retry_after or self.retry_after

    @property
    def final(self) -> bool:
        return self.status < 500

    def failure(self) -> Failure:
        return Failure(
            code=self.code,
            status=self.status,
            detail=self.detail,
            errors=self.errors,
            resource=self.resource,
            retry_after=self.retry_after,
        )

    @staticmethod
    def of(failure: Failure) -> "SignalboxError":
        """An error that somebody else has raised; which class it was there is not known here."""
        error = SignalboxError(
            failure.detail,
            errors=failure.errors,
            resource=failure.resource,
            retry_after=failure.retry_after,
        )
        error.code, error.status = failure.code, failure.status
        return error


class Invalid(SignalboxError):
    status = 422
    code = "validation_failed"
    detail = "The request does not fit what is expected."


class Unauthenticated(SignalboxError):
    status = 401
    code = "unauthenticated"
    detail = "A valid access token is needed."
    forgotten = True  # whoever comes again with a better grant is to be heard


class Forbidden(SignalboxError):
    status = 403
    code = "forbidden"
    detail = "This is not allowed."


class NotFound(SignalboxError):
    status = 404
    code = "not_found"
    detail = "There is no such thing."


class Conflict(SignalboxError):
    status = 409
    code = "conflict"
    detail = "This collides with what is there."


class IdempotencyKeyReused(SignalboxError):
    status = 422
    code = "idempotency_key_reused"
    detail = "This Idempotency-Key was used with another request."


class Unavailable(SignalboxError):
    """Nothing was done; trying again later is safe."""

    status = 503
    code = "unavailable"
    detail = "The service that answers this is not available at the moment."
    retry_after = 1


class OutcomeUnknown(SignalboxError):
    """It may have been done, or not."""

    status = 504
    code = "outcome_unknown"
    detail = "No answer came in time, so the outcome is not known."


# -- on the bus ------------------------------------------------------------------------------------


class BodyTooLarge(SignalboxError):
    status = 413
    code = "body_too_large"
    detail = "The request is too large."


class ReplyTooLarge(SignalboxError):
    code = "reply_too_large"
    detail = "The answer is too large."


class EventTooLarge(Invalid):
    code = "too_large"

    def __init__(self, type_: str, most: int) -> None:
        super().__init__(f"The event {type_} would be larger than {most} bytes.")


class ServiceOverloaded(Unavailable):
    code = "overloaded"
    detail = "The service is overloaded."


class QueueFull(Unavailable):
    code = "queue_full"
    detail = "Too many commands are waiting."
    retry_after = 5


class CommandUnconfirmed(OutcomeUnknown):
    """A command of which no stream has said that it has it."""

    status = 503
    code = OutcomeUnknown.code
    detail = "The command may have been accepted, or not."


class WorkUnderWay(Conflict):
    code = "work_under_way"
    detail = "The same is being done already; ask again when that has ended."


class WorkFailed(SignalboxError):
    """Work that went on after its answer, and came to no good end."""

    code = "work_failed"
    detail = "It was tried as often as it is worth, and failed each time; an operator can try it again."
    final = True


class OperationNotFound(NotFound):
    code = "operation_not_found"
    detail = "There is no such operation."


class AlreadyEnded(Conflict):
    code = "already_ended"
    detail = "It has ended already."


class NotCancellable(Conflict):
    code = "not_cancellable"
    detail = "This cannot be cancelled, or not yet."


class Cancelled(Conflict):
    code = "cancelled"
    detail = "It was cancelled before it was done."


class AlreadyDone(Conflict):
    """Whoever asks again does not get the first answer: it held secrets, or is not kept any more."""

    code = "already_done"
    detail = "This was done already, by an earlier request with the same Idempotency-Key."


class StillFailing(SignalboxError):
    """A dead letter that was handed over again, in vain."""

    code = "still_failing"

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}"[:500])


class DiskFull(SignalboxError):
    """Asked again when there is space, it is done."""

    status = 507
    code = "disk_full"
    detail = "There is not enough space left on the disk for this."
    retry_after = 30
    forgotten = True


class QuotaExceeded(SignalboxError):
    """Asked again when there is room, it is done."""

    status = 429
    code = "quota_exceeded"
    retry_after = 10
    passing = True

    def __init__(self, name: str, *, limit: float, used: float, whose: str = "The project has") -> None:
        super().__init__(
            f"{whose} a quota of {limit:,} for {name}, and {used:,} are used.",
            errors=[FieldError(field=name, message=f"{used:,} of {limit:,} are used", code=self.code)],
        )
        self.retry_after = type(self).retry_after


# -- who may do what -------------------------------------------------------------------------------


class SessionRequired(Forbidden):
    code = "session_required"
    detail = "Sign in to do this: API tokens and delegations may not."


class AdminRequired(Forbidden):
    code = "admin_required"
    detail = "This is for administrators."


class RoleTooLow(Forbidden):
    code = "role_too_low"

    def __init__(self, least: ProjectRole) -> None:
        super().__init__(f"This takes the role {least} or above.")


class InsufficientScope(Forbidden):
    code = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This token lacks the scope {scope}.")


class Reserved(Forbidden):
    code = "reserved"

    def __init__(self, caller: str) -> None:
        super().__init__(f"Only the service {caller} asks for this, under a delegation.")


class NotDelegated(Forbidden):
    code = "not_delegated"
    detail = "The delegation does not cover this."


class UnknownGrantKey(Unavailable):
    code = "unknown_key"
    detail = "The key of this grant is not known here."


class GrantRevoked(Unauthenticated):
    code = "grant_revoked"
    detail = "What this grant stands on was taken back."


class TokenExpired(Unauthenticated):
    code = "token_expired"
    detail = "The token has expired."


class KeyRetired(Unauthenticated):
    code = "key_retired"
    detail = "The key of this token is not trusted any more."


# -- what pydantic has found -----------------------------------------------------------------------


def field_errors(error: ValidationError) -> list[FieldError]:
    """What was wrong with which field, without the refused values."""
    return [
        FieldError(
            field=".".join(str(part) for part in item["loc"]),
            message=item["msg"].removeprefix("Value error, "),
            code=item["type"],
        )
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def invalid(error: ValidationError) -> Invalid:
    return Invalid(errors=field_errors(error))
