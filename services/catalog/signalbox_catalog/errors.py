"""What this service refuses, as whoever asked is told."""

from collections.abc import Sequence
from uuid import UUID

from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import Conflict, Forbidden, Invalid, NotFound, SignalboxError, Unavailable
from signalbox_common.spelling import CODE
from signalbox_manifests import Flaw

_LISTED = 20
_TOLD = 50
"""Flaws of one answer: more than that nobody reads."""


def field_errors(*flaws: Flaw) -> tuple[FieldError, ...]:
    return tuple(
        FieldError(
            field=flaw.field,
            message=flaw.message,
            code=flaw.code,
            document=flaw.document,
            line=flaw.line,
        )
        for flaw in flaws
    )


# -- what was sent ---------------------------------------------------------------------------------


class BadInput(Invalid):
    """What was sent does not fit; nothing was changed."""

    code = Invalid.code

    def __init__(self, *flaws: Flaw, detail: str | None = None) -> None:
        super().__init__(
            detail or _sentence(flaws),
            errors=field_errors(*flaws[:_TOLD]),
        )
        self.flaws: Sequence[Flaw] = flaws


class UnknownFields(BadInput):
    """Names that nobody knows are among it: misspelt, or meant for something else."""

    code = CODE


def refusal_of(*flaws: Flaw) -> BadInput:
    misspelt = any(flaw.code == CODE for flaw in flaws)
    return UnknownFields(*flaws) if misspelt else BadInput(*flaws)


def _sentence(flaws: Sequence[Flaw]) -> str | None:
    """The flaw itself where there is only one: many people read no further."""
    if len(flaws) != 1:
        return f"{len(flaws)} things do not fit; nothing was changed." if flaws else None
    flaw = flaws[0]
    where = f"Document {flaw.document}, line {flaw.line}: " if flaw.document is not None else ""
    return f"{where}{flaw.field + ': ' if flaw.field else ''}{flaw.message}"


class VersionConflict(BadInput):
    """What was sent is meant for other versions than those that are there."""

    status = Conflict.status
    code = Conflict.code
    detail = Conflict.detail


class NamespaceNotFound(BadInput):
    """What was sent is for namespaces that are not there, or not for the asker."""

    status = NotFound.status
    code = "project_not_found"
    detail = "There is no such project."

    def __init__(self, *flaws: Flaw) -> None:
        super().__init__(*flaws, detail=self.detail)


class RoleTooLow(BadInput):
    """What was sent is for namespaces in which the asker may only read."""

    status = Forbidden.status
    code = "role_too_low"
    detail = "This takes a higher role."
    project: UUID | None = None
    """Where it is for one of them only."""


# -- resources -------------------------------------------------------------------------------------


class KindNotFound(NotFound):
    code = "kind_not_found"

    def __init__(self, plural: str) -> None:
        super().__init__(f"There is no kind {plural[:40]!r}; `/api/v1/kinds` lists what there is.")


class ResourceNotFound(NotFound):
    code = "resource_not_found"

    def __init__(self, what: str, namespace: str) -> None:
        super().__init__(f"There is no {what} in the namespace {namespace}.")


class KeyNotFound(NotFound):
    code = "key_not_found"

    def __init__(self, pointer: str) -> None:
        super().__init__(f"There is no key at {pointer}.")


class AlreadyExists(Conflict):
    """A living resource has that name."""

    code = "already_exists"

    def __init__(self, what: str, namespace: str) -> None:
        super().__init__(f"There is a {what} in the namespace {namespace} already.")


class NothingDeleted(NotFound):
    code = "nothing_deleted"
    detail = "There is no deleted resource of that name."


class VersionMoved(Conflict):
    code = "version_conflict"
    detail = "Somebody else has changed it in the meantime: look at it again."


class Contention(Unavailable):
    """What was looked at before has changed since then: to be done again from the start."""

    code = "contended"
    detail = "Others keep changing this: try again."


class StillReferenced(Conflict):
    """Names who refers to it: resources of the same project, which its members may know."""

    code = "still_referenced"

    def __init__(self, referrers: Sequence[tuple[str, str, str]]) -> None:
        """Each with its kind, namespace and name."""
        named = [f"{kind.lower()} {name}" for kind, _, name in referrers]
        listed = named[:_LISTED]
        if len(named) > _LISTED:
            listed.append(f"{len(named) - _LISTED} more")
        way_out = "Delete those first, or all of them with `cascade=true`."
        super().__init__(
            f"It is referred to by {', '.join(listed)}. {way_out}",
            errors=[
                FieldError(field=f"{kind}/{namespace}/{name}", message="refers to it", code="refers")
                for kind, namespace, name in referrers[:_TOLD]
            ],
        )


class GenerationNotFound(NotFound):
    code = "generation_not_found"
    detail = "That generation never was, or is not kept any more."


class VersionExpired(SignalboxError):
    status = 410
    code = "expired"
    detail = "What came after that resourceVersion is not kept any more: list, and watch from there."


class TreeTooLarge(SignalboxError):
    status = 413
    code = "too_large"
    detail = "This refers to more than one answer can hold."


# -- packages --------------------------------------------------------------------------------------


class PackageNotFound(NotFound):
    code = "package_not_found"
    detail = "This skill has no package."


class UploadNotFound(NotFound):
    code = "upload_not_found"
    detail = "Nothing was uploaded."
