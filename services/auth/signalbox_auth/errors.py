"""What the errors of this domain are called on the wire."""

from collections.abc import Callable

from signalbox_auth import domain
from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import Conflict, Invalid, NotFound, SignalboxError, Unauthenticated


def _field(name: str, message: str, code: str) -> tuple[FieldError, ...]:
    return (FieldError(field=name, message=message, code=code),)


_ON_THE_WIRE: dict[type[domain.DomainError], Callable[[], SignalboxError]] = {
    domain.UsernameTaken: lambda: Conflict(
        "This user name is taken.", code="username_taken", errors=_field("username", "is taken", "taken")
    ),
    domain.EmailTaken: lambda: Conflict(
        "This e-mail address is taken.", code="email_taken", errors=_field("email", "is taken", "taken")
    ),
    domain.BadCredentials: lambda: Unauthenticated("User name or password is wrong.", code="bad_credentials"),
    domain.SlugTaken: lambda: Conflict(
        "Another project has this slug.", code="slug_taken", errors=_field("slug", "is taken", "taken")
    ),
    domain.SlugReserved: lambda: Invalid(
        "This slug is reserved.", errors=_field("slug", "is reserved", "reserved")
    ),
    domain.NoSuchUser: lambda: Unauthenticated("The user of this token does not exist any more."),
    domain.NoSuchProject: lambda: NotFound("There is no such project.", code="project_not_found"),
    domain.BadCursor: lambda: Invalid(errors=_field("cursor", "is not one of ours", "bad_cursor")),
}


def translate(error: Exception) -> SignalboxError | None:
    """None for what is no error of this domain."""
    make = _ON_THE_WIRE.get(type(error)) if isinstance(error, domain.DomainError) else None
    return make() if make is not None else None
