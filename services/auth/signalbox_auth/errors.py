"""What this service refuses, as whoever asked is told."""

from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    SignalboxError,
    Unauthenticated,
    Unavailable,
)


def _field(name: str, message: str, code: str) -> tuple[FieldError, ...]:
    return (FieldError(field=name, message=message, code=code),)


# -- people and passwords --------------------------------------------------------------------------


class RegistrationClosed(Forbidden):
    code = "registration_closed"
    detail = "New users are made by administrators here."


class InvitationNeeded(Forbidden):
    code = "invitation_needed"
    detail = "Whoever registers here needs an invitation."


class BadInvitation(Forbidden):
    code = "bad_invitation"
    detail = "The invitation is not good, or not any more, or for another address."


class InvitationNotFound(NotFound):
    code = "invitation_not_found"
    detail = "There is no such invitation, or it is not open any more."


class TooManyInvitations(SignalboxError):
    status = 429
    code = "too_many_invitations"
    detail = "Too many invitations of this project are open: revoke some."


class AddressNeeded(Invalid):
    code = "address_needed"
    detail = "What is to be mailed needs an address."
    errors = _field("email", "is needed", "missing")


class ReservedName(Invalid):
    code = "reserved_name"

    def __init__(self, field: str) -> None:
        super().__init__(
            "This name, or one that looks like it, is reserved.",
            errors=_field(field, "is reserved", "reserved"),
        )


class UsernameTaken(Conflict):
    code = "username_taken"
    detail = "This user name is taken."
    errors = _field("username", "is taken", "taken")


class EmailTaken(Conflict):
    code = "email_taken"
    detail = "This e-mail address is taken."
    errors = _field("email", "is taken", "taken")


class UserNotFound(NotFound):
    code = "user_not_found"
    detail = "There is no such user."


class LastAdmin(Conflict):
    code = "last_admin"
    detail = "This is the last administrator."


class NothingToChange(Invalid):
    code = "nothing_to_change"
    detail = "There is nothing to change."


class WeakPassword(Invalid):
    code = "weak_password"

    def __init__(self, flaw: str) -> None:
        super().__init__(f"This password {flaw}.", errors=_field("password", flaw, "weak"))


class BadPasswordHash(Invalid):
    code = "bad_password_hash"
    detail = "Either a password is needed, or a bcrypt or argon2id hash of one."
    errors = _field("passwordHash", "is no bcrypt or argon2id hash", "bad_password_hash")


class WrongPassword(Forbidden):
    """The current password of somebody who is signed in."""

    code = "wrong_password"
    detail = "The current password is wrong."


class PasswordNeeded(Invalid):
    code = "password_needed"
    detail = "To change the e-mail address takes the current password."
    errors = _field("currentPassword", "is needed", "missing")


class BadLink(Forbidden):
    code = "bad_link"
    detail = "The link is not good, or not any more."


class NoMail(Conflict):
    code = "no_mail"
    detail = "This installation sends no mail: ask an administrator."


# -- signing in ------------------------------------------------------------------------------------


class LoginMissing(Invalid):
    code = Invalid.code
    detail = "A user name or an e-mail address is needed."


class BadCredentials(Unauthenticated):
    """Knows whose account it was about, if there is one; nothing that was typed."""

    code = "bad_credentials"
    detail = "User name or password is wrong."

    def __init__(self, about: str | None = None) -> None:
        super().__init__()
        self.about = about


class TooManyAttempts(SignalboxError):
    status = 429
    code = "too_many_attempts"
    detail = "Too many failed attempts: wait before the next one."

    def __init__(self, seconds: int) -> None:
        super().__init__(retry_after=seconds)


class LoginsBusy(Unavailable):
    code = "busy"
    detail = "Too many people are signing in at this moment."


class RegistrationsBusy(Unavailable):
    code = LoginsBusy.code
    detail = "Too many people are registering at this moment."
    retry_after = 5


class BadRefreshToken(Unauthenticated):
    code = "bad_refresh_token"
    detail = "The refresh token is not good, or not any more."


class RefreshTokenReused(Unauthenticated):
    code = "refresh_token_reused"
    detail = "This refresh token was used before; its session has ended."
    keeps_changes = True


class NoSuchUser(Unauthenticated):
    """The holder of the token is gone."""

    code = Unauthenticated.code
    detail = "The user of this token does not exist any more."


class SessionNotFound(NotFound):
    code = "session_not_found"
    detail = "There is no such session."


class SessionEnded(Unauthenticated):
    code = "session_ended"
    detail = "The session has ended."


class IncompleteToken(Unauthenticated):
    code = Unauthenticated.code
    detail = "The token is incomplete."


# -- devices: what a poll is answered with, as RFC 8628 has it -------------------------------------


class DeviceNotFound(NotFound):
    code = "device_not_found"
    detail = "No device is waiting with this code."


class DevicePending(SignalboxError):
    status = 400
    code = "authorization_pending"
    detail = "Nobody has decided yet."


class DeviceTooFast(SignalboxError):
    status = 400
    code = "slow_down"
    detail = "Ask less often: from now on 5 seconds more apart."


class DeviceDenied(SignalboxError):
    status = 400
    code = "access_denied"
    detail = "The request was refused."


class DeviceExpired(SignalboxError):
    status = 400
    code = "expired_token"
    detail = "The code has expired: start again."


# -- API tokens and service accounts ---------------------------------------------------------------


class TokenNotFound(NotFound):
    code = "token_not_found"
    detail = "There is no such API token."


class ForeignToken(Unauthenticated):
    code = Unauthenticated.code
    detail = "The API token is not one of ours."


class TokenRevoked(Unauthenticated):
    code = "token_revoked"
    detail = "The API token is not good, or not any more."


class BadExpiry(Invalid):
    code = Invalid.code
    errors = _field("expiresAt", "lies in the past", "past")


class UnknownScope(Invalid):
    code = Invalid.code

    def __init__(self, scope: str) -> None:
        super().__init__(errors=_field("scopes", f"{scope} is no scope that there is", "unknown_scope"))


class AccountNotFound(NotFound):
    code = "service_account_not_found"
    detail = "There is no such service account."


class StaysAtHome(Forbidden):
    code = "service_account"
    detail = "A service account belongs to one project, and owns none."


# -- projects and their members --------------------------------------------------------------------


class SlugTaken(Conflict):
    code = "slug_taken"
    detail = "Another project has this slug."
    errors = _field("slug", "is taken", "taken")


class SlugReserved(Invalid):
    code = Invalid.code
    detail = "This slug is reserved."
    errors = _field("slug", "is reserved", "reserved")


class NoSuchProject(NotFound):
    code = "project_not_found"
    detail = "There is no such project."


class PersonalProject(Conflict):
    code = "personal_project"
    detail = "A personal project stays as long as its person."


class VersionMoved(SignalboxError):
    status = 412
    code = "precondition_failed"
    detail = "Somebody else has changed it in the meantime."


class AlreadyMember(Conflict):
    code = "already_member"
    detail = "This user is a member already."


class MemberNotFound(NotFound):
    code = "member_not_found"
    detail = "There is no such member."


class RoleTooLow(Forbidden):
    """Nobody gives, changes or takes a role that is above their own."""

    code = "role_too_low"
    detail = "This takes a higher role."


class LastOwner(Conflict):
    code = "last_owner"
    detail = "A project keeps at least one owner."


# -- grants ----------------------------------------------------------------------------------------


class UnknownAudience(Invalid):
    code = Invalid.code
    detail = "Nobody answers to this audience."


class DelegationEnded(Unauthenticated):
    code = "delegation_ended"
    detail = "The delegation has ended."


class ProofOutOfReach(Unauthenticated):
    code = "proof_out_of_reach"
    detail = "The command that this proof came with was accepted too long ago, or not yet."


class DelegationThere(Conflict):
    code = "delegation_exists"
    detail = "There is a delegation for this secret already."


class DelegationPassedOn(Forbidden):
    code = "not_delegated"
    detail = "A delegation cannot be passed on."
