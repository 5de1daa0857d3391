"""What the git service refuses."""

from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import Conflict, Forbidden, Invalid, NotFound, SignalboxError, Unavailable


class RepositoryNotFound(NotFound):
    code = "repository_not_found"
    detail = "There is no such repository."


class RevisionNotFound(NotFound):
    code = "revision_not_found"
    detail = "The repository has no such branch, tag or commit, as far as it was fetched."


class PathNotFound(NotFound):
    code = "path_not_found"
    detail = "There is no such path at this revision."


class CheckoutNotFound(NotFound):
    code = "checkout_not_found"
    detail = "There is no such checkout."


class RepositoryExists(Conflict):
    code = "repository_exists"
    detail = "The project has a repository of this name, or at this address."


class CredentialNeeded(Invalid):
    code = "credential_needed"
    detail = "Another host is not shown the credential of this one: give its own, or remove it."
    errors = (
        FieldError(field="credential", message="is needed with another host", code="credential_needed"),
    )


class KeyNeedsSsh(Invalid):
    code = "key_needs_ssh"
    detail = "A private key is for an address of ssh."
    errors = (
        FieldError(field="credential", message="is a key, and no address of ssh", code="key_needs_ssh"),
    )


class NothingToChange(Invalid):
    code = "nothing_to_change"
    detail = "The request changes nothing."


class ProjectGone(Conflict):
    code = "project_gone"
    detail = "The project was deleted."


class RunReserved(Forbidden):
    code = "run_reserved"
    detail = "Only the service tasks asks for something in the name of a run."


class RunEnded(Conflict):
    code = "run_ended"
    detail = "The run has ended, or is about to."


class FetchFailed(Conflict):
    code = "fetch_failed"
    detail = "The repository cannot be fetched."


class NotFetchedYet(Unavailable):
    code = Unavailable.code
    detail = "The repository is being fetched for the first time: ask again in a moment."
    retry_after = 2


class TooMuch(Invalid):
    status = 413
    code = "too_much"
    detail = "This is more than is shown at once."


class RemoteAway(SignalboxError):
    status = 502
    code = "remote_away"
    detail = "The remote cannot be reached at the moment."


class CheckoutFailed(Conflict):
    code = "checkout_failed"
    detail = "The checkout cannot be made."


class DeliveryNotFound(NotFound):
    code = "delivery_not_found"
    detail = "There is no such delivery."


class PullRequestNotFound(NotFound):
    code = "pull_request_not_found"
    detail = "There is no such pull request."


class CredentialNotFound(NotFound):
    code = "credential_not_found"
    detail = "There is no such credential."


class GitOperationNotFound(NotFound):
    code = "operation_not_found"
    detail = "There is no such operation."


class NoForge(Conflict):
    code = "no_forge"
    detail = "There is no forge at this repository's address, only git: it has no pull requests."


class ForgeAway(Conflict):
    code = "forge_away"
    detail = "The forge cannot be asked at the moment."


class ForgeRefuses(Conflict):
    code = "forge_refused"
    detail = "The forge does not do this."


class ChangesNotFound(NotFound):
    code = "changes_not_found"
    detail = "No such change set is stored in the project."


class MaintainerNeeded(Forbidden):
    code = "role_too_low"
    detail = "What was found may be let out by a maintainer."


class BadChanges(Invalid):
    code = "bad_changes"
    detail = "This is no change set."


class ChangesTooLarge(Invalid):
    status = 413
    code = "changes_too_large"
    detail = "These are more changes than are taken at once."


class DigestMismatch(Invalid):
    code = "digest_mismatch"
    detail = "The digest of the body is another one than the address says."


class BadBundle(Invalid):
    code = "bad_bundle"
    detail = "This is no bundle of commits."


class BadSigningKey(Invalid):
    code = "bad_signing_key"
    detail = "Commits are signed with an ed25519 key of ssh that has no passphrase."
    errors = (FieldError(field="signingKey", message="is no such key", code="bad_signing_key"),)


class DeliveryUnderWay(Conflict):
    code = "delivery_under_way"
    detail = "The delivery goes on: it is tried again by itself."


class AlreadyDelivered(Conflict):
    code = "already_delivered"
    detail = "There is nothing to try again: it has ended as it should."
