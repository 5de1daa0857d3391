"""Shells: the runtime that an agent works in."""

from pydantic import Field

from signalbox_catalog.domain.kinds.base import Document, Kind, Spec


class ShellSpec(Spec):
    """The runtime that an agent works in."""

    shell_type: str = Field(
        min_length=1,
        max_length=100,
        description="`Exec`, `Chat`, `Agent` or `Command`, or what another system calls its own.",
    )
    support_model: list[str] | None = None
    base_image: str | None = None
    base_shell_ref: str | None = None
    requires_workspace: bool | None = None
    description: str | None = None


_WHOLE = "shellType"
_SHORT = {"type": (_WHOLE,), "runtime": (_WHOLE,)}


def canonical(spec: Document) -> Document:
    """`shellType` is also spelled `type` and `runtime`; beside another one, those mean something else."""
    for short in _SHORT:
        if short in spec and spec.get(_WHOLE, spec[short]) == spec[short]:
            without = {name: value for name, value in spec.items() if name != _WHOLE}
            return {_WHOLE if name == short else name: value for name, value in without.items()}
    return spec


KIND = Kind(
    name="Shell",
    plural="shells",
    description=ShellSpec.__doc__ or "",
    spec=ShellSpec,
    short_names=("sh",),
    canonical=canonical,
    replaces=_SHORT,
)
