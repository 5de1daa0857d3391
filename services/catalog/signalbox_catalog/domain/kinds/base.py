"""What the kinds of resources have in common."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

Document = dict[str, Any]
HOME = "default"
"""What a namespace is called that stands for the asker's personal project."""


@dataclass(frozen=True)
class Reference:
    """That a field of a spec names another resource."""

    field: str
    kind: str
    name: str
    namespace: str | None = None
    """As it was written; none is the namespace of whoever refers."""
    namespace_at: tuple[str | int, ...] = ()
    """Where in the spec that is written."""


class Part(BaseModel):
    """A part of a spec: its fields are checked, and what is not known is kept as it is."""

    model_config = ConfigDict(extra="allow", alias_generator=to_camel, hide_input_in_errors=True)


class Spec(Part):
    def references(self) -> Iterator[Reference]:
        """What of other resources it names."""
        yield from ()


def _written_short(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class NamedRef(Part):
    """Another resource by its name; where a mapping stands, a bare name is taken too."""

    name: str = Field(min_length=1, max_length=100)
    namespace: str | None = Field(default=None, max_length=63)

    def to(self, kind: str, *at: str | int) -> Reference:
        """As a reference that stands in that field of the spec."""
        field = ".".join(str(part) for part in at)
        return Reference(field, kind, self.name, self.namespace or None, (*at, "namespace"))


Ref = Annotated[NamedRef, BeforeValidator(_written_short)]


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


NumberOrText = Annotated[str, BeforeValidator(_as_text)]
"""Numbers are taken, and become text."""

Scalar = str | int | float | bool | None


class McpServer(Part):
    """How a tool server is started, or where it is reached."""

    command: str | None = None
    args: list[str] | None = None
    env: dict[str, Scalar] | None = None
    url: str | None = None
    headers: dict[str, Scalar] | None = None


def _unchanged(spec: Document) -> Document:
    return spec


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of resources: how it is called, what its specs are, what it refers to."""

    name: str
    plural: str
    description: str
    spec: type[Spec]
    short_names: tuple[str, ...] = ()
    refers_to: frozenset[str] = frozenset()
    canonical: Callable[[Document], Document] = _unchanged
    """The spec with its short forms written out; may be handed anything that is a mapping."""
    replaces: Mapping[str, str] = field(default_factory=dict)
    """Short forms, and the field each of them stands for: a patch with one is a patch of the other."""

    @property
    def singular(self) -> str:
        return self.name.lower()
