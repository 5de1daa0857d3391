"""Where the keys of a spec would be sent: whoever changes that has to know the key.

A key belongs to the mapping around it, past environments and lists. It goes where addresses, programs and
their arguments say that stand in that mapping, around it or within it; those of other mappings beside it do
not count.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from signalbox_catalog.domain.jsons import Json, Pointer, pointer
from signalbox_catalog.domain.masks import ENVIRONMENTS, carriers, spelled

_WORDS = frozenset(
    {
        *("url", "urls", "uri", "uris", "host", "hosts", "hostname", "endpoint", "endpoints", "address"),
        *("addr", "server", "servers", "origin", "domain", "proxy", "gateway", "port", "registry", "base"),
        *("command", "cmd", "args", "argv", "arguments", "entrypoint", "image", "path", "preload", "cwd"),
        *("socket", "dns", "options", "dsn", "tunnel", "upstream", "target", "destination", "webhook"),
    }
)
_PROSE = frozenset({"_description", "_icon", "_system_prompt", "_prompt", "_display_name"})
_ADDRESS = re.compile(r"\S+://\S+")
_Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class _Leaf:
    path: _Path
    holder: _Path
    names: tuple[str, ...]
    """Below the holder."""
    value: Any

    @property
    def leads_somewhere(self) -> bool:
        if self.names and spelled(self.names[-1]) in _PROSE:
            return False
        text = self.value if isinstance(self.value, str) else ""
        return _means_address(*self.names) or _ADDRESS.fullmatch(text.strip()) is not None

    @property
    def is_address(self) -> bool:
        """Whether it is one by its own name, so that what it hides is no key, or not only."""
        if isinstance(self.path[-1], int):
            return isinstance(self.value, str) and _means_address(self.value.partition("=")[0])
        return _means_address(*self.names[-1:])


class Moves:
    """What a change of a spec means for the keys that it leaves as they are.

    An address that is itself hidden counts as changed wherever it was sent: that it was the right one is for
    nobody to find out.
    """

    def __init__(
        self, before: Mapping[str, Any], after: Mapping[str, Any], sent: Collection[Pointer]
    ) -> None:
        self._before = {pointer(leaf.path): leaf for leaf in _leaves(dict(before), (), (), ())}
        self._after = {pointer(leaf.path): leaf for leaf in _leaves(dict(after), (), (), ())}
        self._changed: dict[_Path, Pointer] = {}
        self._around: dict[_Path, Pointer] = {}
        for place in sorted(self._before.keys() | self._after.keys()):
            old, new = self._before.get(place), self._after.get(place)
            known = new or old
            if known is None or not any(leaf.leads_somewhere for leaf in (old, new) if leaf is not None):
                continue
            same = old is not None and new is not None and old.value == new.value
            if same and not (place in sent and known.is_address):
                continue
            self._changed.setdefault(known.holder, place)
            for length in range(len(known.holder)):
                self._around.setdefault(known.holder[:length], place)

    def of(self, key: Pointer) -> Pointer | None:
        """What has changed of where this key goes, if anything has."""
        old, new = self._before.get(key), self._after.get(key)
        if old is None or new is None:
            return None
        if carriers(old.value) != carriers(new.value):
            return key
        holders = (new.holder[:length] for length in range(len(new.holder), -1, -1))
        nearest = next((self._changed[each] for each in holders if each in self._changed), None)
        return nearest or self._around.get(new.holder)


def _means_address(*names: str) -> bool:
    return any(not _WORDS.isdisjoint(spelled(name).split("_")) for name in names)


def _leaves(value: Json, path: _Path, holder: _Path, names: tuple[str, ...]) -> Iterator[_Leaf]:
    if isinstance(value, dict):
        called = next((value[each] for each in ("name", "key") if isinstance(value.get(each), str)), None)
        for member, child in value.items():
            name = str(called) if member == "value" and called is not None else member
            yield from _below(child, (*path, member), holder, (*names, name))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _below(child, (*path, index), holder, names)
    else:
        yield _Leaf(path, holder, names, value)


def _below(value: Json, path: _Path, holder: _Path, names: tuple[str, ...]) -> Iterator[_Leaf]:
    environment = any(isinstance(part, str) and spelled(part) in ENVIRONMENTS for part in path[len(holder) :])
    if isinstance(value, dict) and not environment:
        yield from _leaves(value, path, path, ())
    else:
        yield from _leaves(value, path, holder, names)
