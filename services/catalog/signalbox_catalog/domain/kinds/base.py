"""What the kinds of resources have in common."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

Document = dict[str, Any]
Path = tuple[str, ...]
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


def _as_it_is(value: Any) -> Any:
    return value


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
    replaces: Mapping[str, Path] = field(default_factory=dict)
    """Short forms, and where what they stand for is: a patch with one is a patch of the other."""
    shortened: Callable[[Any], Any] = _as_it_is
    """What a short form says, from what it stands for."""

    @property
    def singular(self) -> str:
        return self.name.lower()

    def short_in(self, given: Document) -> tuple[str, ...]:
        """The short forms that a spec was sent with."""
        whole = self.canonical(given)
        return tuple(name for name in self.replaces if name in given and name not in whole)

    def contradicted(self, given: Document) -> Iterator[str]:
        """Short forms that say something else than what stands beside them."""
        for name in self.short_in(given):
            beside = found_at(given, self.replaces[name])
            if beside is not None and found_at(self.canonical(given), self.replaces[name]) != beside:
                yield name

    def shown(self, spec: Mapping[str, Any], short: Iterable[str]) -> Document:
        """As it is answered to who sent it short: with both forms."""
        values = {name: found_at(spec, self.replaces[name]) for name in short if name in self.replaces}
        said = {name: self.shortened(value) for name, value in values.items() if value is not None}
        return {**said, **spec}


def found_at(spec: Any, path: Path) -> Any:
    for part in path:
        spec = spec.get(part) if isinstance(spec, Mapping) else None
    return spec
