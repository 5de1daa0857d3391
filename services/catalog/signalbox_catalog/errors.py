"""What the errors of this domain are called on the wire."""

from collections.abc import Callable

from signalbox_catalog.domain import errors as domain
from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import Conflict, Forbidden, Invalid, NotFound, SignalboxError

_LISTED = 20
_TOLD = 50
"""Flaws of one answer: more than that nobody reads."""


def _errors(error: domain.Flawed) -> list[FieldError]:
    return [
        FieldError(
            field=flaw.field, message=flaw.message, code=flaw.code, document=flaw.document, line=flaw.line
        )
        for flaw in error.flaws[:_TOLD]
    ]


def _flawed(error: domain.Flawed) -> SignalboxError:
    return Invalid(_sentence(error), errors=_errors(error))


def _sentence(error: domain.Flawed) -> str | None:
    """The flaw itself where there is only one: many people read no further."""
    if len(error.flaws) != 1:
        return f"{len(error.flaws)} things do not fit; nothing was changed." if error.flaws else None
    flaw = error.flaws[0]
    where = f"Document {flaw.document}, line {flaw.line}: " if flaw.document is not None else ""
    return f"{where}{flaw.field + ': ' if flaw.field else ''}{flaw.message}"


def _conflicting(error: domain.Flawed) -> SignalboxError:
    return Conflict(_sentence(error), errors=_errors(error))


def _still_referenced(error: domain.StillReferenced) -> SignalboxError:
    named = [f"{kind.lower()} {name}" for kind, _, name in error.referrers]
    listed = named[:_LISTED]
    rest = len(named) - len(listed)
    others = [f"{rest} more"] if rest else []
    if error.hidden:
        others.append(f"{error.hidden} in other namespaces")
    return Conflict(
        f"It is referred to by {', '.join(listed + others)}. Delete those first, or all of them with "
        "`cascade=true`."
        if not error.hidden
        else f"It is referred to by {', '.join(listed + others)}.",
        code="still_referenced",
        errors=[
            FieldError(field=f"{kind}/{namespace}/{name}", message="refers to it", code="refers")
            for kind, namespace, name in error.referrers[:_TOLD]
        ],
    )


_ON_THE_WIRE: dict[type[domain.DomainError], Callable[..., SignalboxError]] = {
    domain.Flawed: _flawed,
    domain.Conflicting: _conflicting,
    domain.Closed: lambda error: NotFound(
        "There is no such project.", code="project_not_found", errors=_errors(error)
    ),
    domain.RoleTooLow: lambda error: Forbidden(
        _sentence(error) or "This takes a higher role.", code="role_too_low", errors=_errors(error)
    ),
    domain.KindNotFound: lambda error: NotFound(
        f"There is no kind {str(error)[:40]!r}; `/api/v1/kinds` lists what there is.", code="kind_not_found"
    ),
    domain.ResourceNotFound: lambda error: NotFound(str(error), code="resource_not_found"),
    domain.AlreadyExists: lambda error: Conflict(str(error), code="already_exists"),
    domain.NothingDeleted: lambda _: NotFound(
        "There is no deleted resource of that name.", code="nothing_deleted"
    ),
    domain.VersionMoved: lambda _: Conflict(
        "Somebody else has changed it in the meantime: look at it again.", code="version_conflict"
    ),
    domain.StillReferenced: _still_referenced,
    domain.GenerationNotFound: lambda _: NotFound(
        "That generation never was, or is not kept any more.", code="generation_not_found"
    ),
    domain.Expired: lambda _: SignalboxError(
        "What came after that resourceVersion is not kept any more: list, and watch from there.",
        code="expired",
        status=410,
    ),
    domain.TreeTooLarge: lambda _: SignalboxError(
        "This refers to more than one answer can hold.", code="too_large", status=413
    ),
    domain.PackageNotFound: lambda _: NotFound("This skill has no package.", code="package_not_found"),
    domain.UploadNotFound: lambda _: NotFound("Nothing was uploaded.", code="upload_not_found"),
}


def translate(error: Exception) -> SignalboxError | None:
    """None for what is no error of this domain."""
    if not isinstance(error, domain.DomainError):
        return None
    make = _ON_THE_WIRE.get(type(error))
    return make(error) if make is not None else None
