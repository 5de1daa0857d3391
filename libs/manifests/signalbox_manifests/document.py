"""A document, and where in the text each of its values stands."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Place: TypeAlias = tuple[int, "Places | None"]
Places: TypeAlias = dict[str | int, Place]


@dataclass(frozen=True)
class Document:
    """`number` counts from 1, in the order of the text; what is empty does not count."""

    number: int
    content: Any
    lines: Mapping[Path, int]
    """From 1: of a value its key's line, of an item its own; `()` is where the document begins."""

    def line_of(self, path: Path) -> int:
        """Of what stands there, else of the nearest thing around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


class Lines(Mapping[Path, int]):
    """Walks the places instead of keeping a path for each: what aliases share is kept once."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __getitem__(self, path: Path) -> int:
        line, inside = self._place
        for step in path:
            if inside is None or step not in inside:
                raise KeyError(path)
            line, inside = inside[step]
        return line

    def __iter__(self) -> Iterator[Path]:
        waiting: list[tuple[Path, Place]] = [((), self._place)]
        while waiting:
            path, (_, inside) = waiting.pop()
            yield path
            waiting += [((*path, step), place) for step, place in (inside or {}).items()]

    def __len__(self) -> int:
        return sum(1 for _ in self)
