"""What differs between two JSON values, for people to read."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal

from signalbox_catalog.domain.jsons import Json, Pointer, pointer

_Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Change:
    """One difference.

    What was removed is named by its place in the old document, everything else by its place in the new one.
    So a list that lost several items has them removed from behind, and one that gained some, from the front.
    """

    op: Literal["add", "remove", "replace"]
    path: Pointer
    old: Json = None
    new: Json = None


def diff(old: Json, new: Json) -> tuple[Change, ...]:
    """In the order of the old document; what is new in a mapping comes last there."""
    return tuple(_changes(old, new, ()))


def _changes(old: Json, new: Json, path: _Path) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _in_mappings(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _in_lists(old, new, path)
    elif not _same(old, new):
        yield Change("replace", pointer(path), old, new)


def _in_mappings(old: dict[str, Json], new: dict[str, Json], path: _Path) -> Iterator[Change]:
    for key, value in old.items():
        if key in new:
            yield from _changes(value, new[key], (*path, key))
        else:
            yield Change("remove", pointer((*path, key)), old=value)
    for key, value in new.items():
        if key not in old:
            yield Change("add", pointer((*path, key)), new=value)


def _in_lists(old: list[Json], new: list[Json], path: _Path) -> Iterator[Change]:
    """Only between what both begin with and what both end with, so that one more item is one change."""
    start = _same_at_front(old, new)
    end = _same_at_front(old[start:][::-1], new[start:][::-1])
    before, after = old[start : len(old) - end], new[start : len(new) - end]
    both = min(len(before), len(after))
    for index in range(both):
        yield from _changes(before[index], after[index], (*path, start + index))
    for index, value in enumerate(before[both:], start + both):
        yield Change("remove", pointer((*path, index)), old=value)
    for index, value in enumerate(after[both:], start + both):
        yield Change("add", pointer((*path, index)), new=value)


def _same_at_front(old: list[Json], new: list[Json]) -> int:
    return sum(1 for _ in takewhile(lambda pair: _same(*pair), zip(old, new, strict=False)))


def _same(one: Json, other: Json) -> bool:
    """Equal in JSON: 1 is 1.0, but neither is true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other
