"""What the errors of this domain are called on the wire."""

from collections.abc import Callable

from signalbox_auth.domain import errors as domain
from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import Conflict, Forbidden, Invalid, NotFound, SignalboxError, Unauthenticated


def _field(name: str, message: str, code: str) -> tuple[FieldError, ...]:
    return (FieldError(field=name, message=message, code=code),)


def _weak_password(error: domain.DomainError) -> SignalboxError:
    return Invalid(
        f"This password {error}.", code="weak_password", errors=_field("password", str(error), "weak")
    )


def _too_many_attempts(error: domain.DomainError) -> SignalboxError:
    seconds = error.seconds if isinstance(error, domain.TooManyAttempts) else 1
    return SignalboxError(
        "Too many failed attempts: wait before the next one.",
        code="too_many_attempts",
        status=429,
        retry_after=seconds,
    )


def _device(code: str, detail: str, status: int = 400) -> Callable[[domain.DomainError], SignalboxError]:
    return lambda _error: SignalboxError(detail, code=code, status=status)


_ON_THE_WIRE: dict[type[domain.DomainError], Callable[[domain.DomainError], SignalboxError]] = {
    domain.UsernameTaken: lambda _: Conflict(
        "This user name is taken.", code="username_taken", errors=_field("username", "is taken", "taken")
    ),
    domain.EmailTaken: lambda _: Conflict(
        "This e-mail address is taken.", code="email_taken", errors=_field("email", "is taken", "taken")
    ),
    domain.WeakPassword: _weak_password,
    domain.BadPasswordHash: lambda _: Invalid(
        "Either a password is needed, or a bcrypt or argon2id hash of one.",
        code="bad_password_hash",
        errors=_field("passwordHash", "is no bcrypt or argon2id hash", "bad_password_hash"),
    ),
    domain.WrongPassword: lambda _: Forbidden("The current password is wrong.", code="wrong_password"),
    domain.BadCredentials: lambda _: Unauthenticated(
        "User name or password is wrong.", code="bad_credentials"
    ),
    domain.TooManyAttempts: _too_many_attempts,
    domain.RegistrationClosed: lambda _: Forbidden(
        "New users are made by administrators here.", code="registration_closed"
    ),
    domain.BadRefreshToken: lambda _: Unauthenticated(
        "The refresh token is not good, or not any more.", code="bad_refresh_token"
    ),
    domain.RefreshTokenReused: lambda _: Unauthenticated(
        "This refresh token was used before; its session has ended.",
        code="refresh_token_reused",
        keeps_changes=True,
    ),
    domain.NoSuchUser: lambda _: Unauthenticated("The user of this token does not exist any more."),
    domain.UserNotFound: lambda _: NotFound("There is no such user.", code="user_not_found"),
    domain.LastAdmin: lambda _: Conflict("This is the last administrator.", code="last_admin"),
    domain.SessionNotFound: lambda _: NotFound("There is no such session.", code="session_not_found"),
    domain.TokenNotFound: lambda _: NotFound("There is no such API token.", code="token_not_found"),
    domain.BadExpiry: lambda _: Invalid(errors=_field("expiresAt", "lies in the past", "past")),
    domain.UnknownScope: lambda error: Invalid(
        errors=_field("scopes", f"{error} is no scope that there is", "unknown_scope")
    ),
    domain.DeviceNotFound: lambda _: NotFound(
        "No device is waiting with this code.", code="device_not_found"
    ),
    domain.DevicePending: _device("authorization_pending", "Nobody has decided yet."),
    domain.DeviceTooFast: _device("slow_down", "Ask less often: from now on 5 seconds more apart."),
    domain.DeviceDenied: _device("access_denied", "The request was refused."),
    domain.DeviceExpired: _device("expired_token", "The code has expired: start again."),
    domain.SlugTaken: lambda _: Conflict(
        "Another project has this slug.", code="slug_taken", errors=_field("slug", "is taken", "taken")
    ),
    domain.SlugReserved: lambda _: Invalid(
        "This slug is reserved.", errors=_field("slug", "is reserved", "reserved")
    ),
    domain.NoSuchProject: lambda _: NotFound("There is no such project.", code="project_not_found"),
    domain.PersonalProject: lambda _: Conflict(
        "A personal project stays as long as its person.", code="personal_project"
    ),
    domain.VersionMoved: lambda _: SignalboxError(
        "Somebody else has changed it in the meantime.", code="precondition_failed", status=412
    ),
    domain.NothingToChange: lambda _: Invalid("There is nothing to change.", code="nothing_to_change"),
    domain.AlreadyMember: lambda _: Conflict("This user is a member already.", code="already_member"),
    domain.MemberNotFound: lambda _: NotFound("There is no such member.", code="member_not_found"),
    domain.RoleTooLow: lambda _: Forbidden("This takes a higher role.", code="role_too_low"),
    domain.LastOwner: lambda _: Conflict("A project keeps at least one owner.", code="last_owner"),
    domain.AccountNotFound: lambda _: NotFound(
        "There is no such service account.", code="service_account_not_found"
    ),
    domain.StaysAtHome: lambda _: Forbidden(
        "A service account belongs to one project, and owns none.", code="service_account"
    ),
    domain.DelegationEnded: lambda _: Unauthenticated("The delegation has ended.", code="delegation_ended"),
    domain.UnknownAudience: lambda _: Invalid("Nobody answers to this audience."),
}


def translate(error: Exception) -> SignalboxError | None:
    """None for what is no error of this domain."""
    if not isinstance(error, domain.DomainError):
        return None
    make = _ON_THE_WIRE.get(type(error))
    return make(error) if make is not None else None
