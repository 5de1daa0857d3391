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


_SHORT = {"type": "shellType", "runtime": "shellType"}


def canonical(spec: Document) -> Document:
    """`shellType` is also spelled `type` and `runtime`; beside it, those mean something else."""
    for short, whole in _SHORT.items():
        if short in spec and whole not in spec:
            return {whole if name == short else name: value for name, value in spec.items()}
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
