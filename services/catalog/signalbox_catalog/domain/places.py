"""Whether a place in a document is still the place that it was."""

from collections.abc import Mapping
from typing import Any

from signalbox_catalog.domain.jsons import Pointer, split

_NAMES = ("name", "key")


def stays_in_place(pointer: Pointer, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Members are known by their names; items of lists only by what stands there and before them."""
    old: Any = before
    new: Any = after
    for part in split(pointer):
        if isinstance(old, list) and isinstance(new, list):
            index = int(part)
            if len(old) <= index or old[:index] != new[:index]:
                return False
            old, new = old[index], new[index]
            if not _same_item(old, new):
                return False
        else:
            old, new = old[part], new[part]
    return True


def _same_item(old: Any, new: Any) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return all(old.get(name) == new.get(name) for name in _NAMES)
    return isinstance(old, dict | list) == isinstance(new, dict | list) and (
        isinstance(old, list) or bool(old == new)
    )
