"""JSON values, and pointers (RFC 6901) to places in them."""

from collections.abc import Iterable
from typing import TypeAlias

from signalbox_catalog.errors import BadInput
from signalbox_manifests import Flaw

Scalar: TypeAlias = str | int | float | bool | None
Json: TypeAlias = "dict[str, Json] | list[Json] | Scalar"
Pointer: TypeAlias = str
DEEPEST = 64
"""How many levels a value may have; as the contracts count them."""


def pointer(path: Iterable[str | int]) -> Pointer:
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def split(place: Pointer) -> tuple[str, ...]:
    """The steps of a pointer; the index of an item is a step of digits."""
    start, *steps = place.split("/")
    if start:
        raise BadInput(Flaw(f"A pointer begins with a slash: {place[:100]!r} does not.", "bad_pointer"))
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)


def check_depth(value: Json, field: str = "") -> None:
    """Raises BadInput for what is too deep to be walked through."""
    level: list[Json] = [value]
    for _ in range(DEEPEST):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise BadInput(Flaw(f"This is nested more than {DEEPEST} levels deep.", "too_deep", field=field))


def _children(value: Json) -> Iterable[Json]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
