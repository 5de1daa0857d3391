"""Puts what is read together, within the limits, and knows where everything stands that is wrong."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

from signalbox_manifests.document import Document, Lines, Path, Place, Places
from signalbox_manifests.flaws import Flaw, ManifestError
from signalbox_manifests.limits import MAX_BYTES, MAX_DEPTH, MAX_DOCUMENTS, MAX_FLAWS, MAX_NODES
from signalbox_manifests.syntax import BadSyntax, hinted, shown

_NOTHING = object()
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL takes neither, however they are written


@dataclass(slots=True)
class _Anchor:
    """What an alias stands for, and how much that is."""

    value: Any
    inside: Places | None = None
    key: str | None = None
    nodes: int = 1
    size: int = 0
    height: int = 0
    open: bool = False


@dataclass(slots=True)
class _Frame:
    """A mapping or a list whose end was not yet read."""

    value: Any
    inside: Places
    nodes_before: int
    size_before: int
    step: str | int
    anchored: _Anchor | None
    height: int = 1
    awaits_value: bool = False
    lost: bool = False
    merging: bool = False
    merged_at: int = -1
    merged: tuple[Any, Any] | None = None


@dataclass(slots=True)
class _PendingFlaw:
    """A flaw of the document that is being read; what number that has shows at its end."""

    path: Path
    line: int
    code: str
    message: str
    named: bool


class Builder:
    """Puts the nodes of a text together in the order in which they are read.

    The text may come from anybody. Nesting ends at a depth, and what an alias would grow into is counted
    before any of it is copied, so time and memory stay within the limits above whatever was sent.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._index = 0
        self._line = 1
        self._documents: list[Document] = []
        self._number = 0
        self._flaws: list[Flaw] = []
        self._pending: list[_PendingFlaw] = []
        self._nodes = self._size = 0
        self._copied_nodes = self._copied_size = 0
        self._begin()

    def _begin(self) -> None:
        self._root: Any = _NOTHING
        self._root_place: Place = (self._line, None)
        self._open: list[_Frame] = []
        self._anchors: dict[str, _Anchor] = {}

    @property
    def outside(self) -> bool:
        """Whether a document is about to begin."""
        return not self._open

    @property
    def awaits_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1].value, dict) and not self._open[-1].awaits_value

    def line(self, index: int) -> int:
        """Counted from the last one asked for, which is never far."""
        self._line += self._text.count("\n", self._index, index) - self._text.count("\n", index, self._index)
        self._index = index
        return self._line

    # What is read, in its order

    def open(self, value: dict[str, Any] | list[Any], index: int, anchor: str | None = None) -> None:
        if self.awaits_key:
            self._lose("?")
            self.flaw("bad_key", "A key has to be a text; here a mapping or a list stands as one.", index)
        if len(self._open) >= MAX_DEPTH:
            self._stop_nesting(index)
        nodes_before, size_before = self._nodes, self._size
        self._grow(1, 0, index)
        inside: Places = {}
        self._put(value, inside, index)
        anchored = None
        if anchor is not None:
            anchored = self._anchors[anchor] = _Anchor(value, inside, open=True)
        step = 0 if isinstance(value, list) else ""
        self._open.append(_Frame(value, inside, nodes_before, size_before, step, anchored))

    def close(self) -> None:
        frame = self._open[-1]
        if frame.merged is not None:
            self._merge(frame, *frame.merged)
        self._open.pop()
        if frame.anchored is not None:
            frame.anchored.nodes = self._nodes - frame.nodes_before
            frame.anchored.size = self._size - frame.size_before
            frame.anchored.height = frame.height
            frame.anchored.open = False
        self._completed(frame.height)

    def key(self, name: str, index: int) -> None:
        frame = self._open[-1]
        self._grow(1, _size(name), index)
        frame.step = name
        frame.merging = False
        frame.lost = True
        first = frame.inside.get(name)
        if not name:
            self.flaw("bad_key", "A key may be neither empty nor null.", index)
        elif first is not None:
            self._flaw_duplicate(name, first[0], index)
        elif _NOT_STORABLE.search(name):
            self._flaw_text(index)
        else:
            frame.lost = False
            frame.inside[name] = (self.line(index), None)
        frame.awaits_value = True

    def merge_key(self, index: int) -> None:
        frame = self._open[-1]
        self._grow(1, 2, index)
        frame.step = "<<"
        frame.merging = True
        frame.lost = frame.merged_at >= 0
        if frame.lost:
            self._flaw_duplicate("<<", self.line(frame.merged_at), index)
        else:
            frame.merged_at = index
        frame.awaits_value = True

    def scalar(self, value: Any, written: str, index: int) -> None:
        self._grow(1, _size(written), index)
        if isinstance(value, str) and _NOT_STORABLE.search(value):
            self._flaw_text(index)
        self._put(value, None, index)
        self._completed(0)

    def remember(self, anchor: str, value: Any, key: str, written: str) -> None:
        """Only scalars have to be remembered; `open` does it for everything else."""
        self._anchors[anchor] = _Anchor(value, key=key, size=_size(written))

    def alias(self, name: str, index: int) -> None:
        anchored = self._anchors.get(name)
        if anchored is None or anchored.open:
            self._lose(f"*{name}")
            if anchored is None:
                self.flaw("unknown_alias", f"Nothing before this is anchored as `&{hinted(name)}`.", index)
            else:
                self.flaw("cycle", f"`*{hinted(name)}` stands inside of what it stands for.", index)
            self._put(None, None, index)
            self._completed(0)
        elif not self.awaits_key:
            self._expand(anchored, index)
        elif anchored.key is not None:
            self.key(anchored.key, index)
        else:
            self._lose("?")
            self.flaw("bad_key", "A key has to be a text; this alias is a mapping or a list.", index)
            self._completed(0)

    def end(self) -> None:
        if self._root is not _NOTHING:
            for _, value, place in self._settle():
                if self._number == MAX_DOCUMENTS:
                    raise ManifestError(*self._flaws, _too_many(place[0]))
                self._number += 1
                if isinstance(value, dict):
                    self._documents.append(Document(self._number, value, Lines(place)))
                else:
                    message = f"A document has to be a mapping; this one is {_kind(value)}."
                    self._add(Flaw(message, "not_a_mapping", document=self._number, line=place[0]))
        self._begin()

    def finished(self) -> list[Document]:
        if self._flaws:
            raise ManifestError(*self._flaws)
        return self._documents

    # What is wrong

    def flaw(self, code: str, message: str, index: int, *, named: bool = True) -> None:
        path = tuple(frame.step for frame in self._open)
        self._pending.append(_PendingFlaw(path, self.line(index), code, message, named))
        if len(self._flaws) + len(self._pending) >= MAX_FLAWS:
            self._raise()

    def give_up(self, error: BadSyntax) -> NoReturn:
        end = len(self._text.rstrip("\n"))
        self.flaw(error.code, str(error), min(error.index, end), named=False)
        self._raise()

    def _stop(self, code: str, message: str, index: int) -> NoReturn:
        self.flaw(code, message, index)
        self._raise()

    def _stop_nesting(self, index: int) -> NoReturn:
        self._stop("too_deep", f"Mappings and lists are nested deeper than {MAX_DEPTH} levels.", index)

    def _flaw_duplicate(self, name: str, first: int, index: int) -> None:
        where = f"on line {first} and on line {self.line(index)}"
        self.flaw("duplicate_key", f"The key `{shown(name)}` stands twice in this mapping, {where}.", index)

    def _flaw_text(self, index: int) -> None:
        self.flaw("not_text", "NUL and halves of surrogate pairs are not text and cannot be kept.", index)

    def _add(self, flaw: Flaw) -> None:
        self._flaws.append(flaw)
        if len(self._flaws) >= MAX_FLAWS:
            raise ManifestError(*self._flaws)

    def _raise(self) -> NoReturn:
        self._settle()
        raise ManifestError(*self._flaws)

    def _settle(self) -> list[tuple[Path, Any, Place]]:
        """The parts of this document, numbers given to its flaws; one part too many shows that there are."""
        parts = _parts((), self._root, self._root_place)
        found = list(islice(parts, MAX_DOCUMENTS + 1 - self._number))
        numbers = {path: self._number + count for count, (path, _, _) in enumerate(found, 1)}
        for flaw in self._pending:
            heads = (flaw.path[:length] for length in range(len(flaw.path) + 1))
            head = next((head for head in heads if head in numbers), None)
            steps = flaw.path[len(head or ()) :] if flaw.named else ()
            name = ".".join(shown(str(step)) for step in steps)
            number = None if head is None else numbers[head]
            self._flaws.append(Flaw(flaw.message, flaw.code, name, number, flaw.line))
        self._pending.clear()
        return found

    # How it is put together

    def _grow(self, nodes: int, size: int, index: int) -> None:
        self._nodes += nodes
        self._size += size
        if self._nodes <= MAX_NODES and self._size <= MAX_BYTES:
            return
        limit = f"more than {MAX_NODES} nodes" if self._nodes > MAX_NODES else f"more than {MAX_BYTES} bytes"
        own_nodes, own_size = self._nodes - self._copied_nodes, self._size - self._copied_size
        if own_nodes <= MAX_NODES and own_size <= MAX_BYTES:
            message = f"The aliases grow into {limit}; a bomb of anchors and aliases was stopped here."
        else:
            message = f"The documents hold {limit} together."
        self._stop("too_large", message, index)

    def _put(self, value: Any, inside: Places | None, index: int) -> None:
        if not self._open:
            self._root = value
            self._root_place = (self.line(index), inside)
            return
        frame = self._open[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
            frame.inside[frame.step] = (self.line(index), inside)
            if len(self._open) == 1 and self._number + len(frame.value) > MAX_DOCUMENTS:
                self._settle()
                raise ManifestError(*self._flaws, _too_many(self.line(index)))
        elif frame.lost:
            return
        elif frame.merging:
            frame.merged = (value, inside)
        else:
            frame.value[frame.step] = value
            if inside is not None:
                frame.inside[frame.step] = (frame.inside[frame.step][0], inside)

    def _completed(self, height: int) -> None:
        """A node is read to its end, be it key or value."""
        if not self._open:
            return
        frame = self._open[-1]
        frame.height = max(frame.height, height + 1)
        if isinstance(frame.step, int):
            frame.step += 1
        else:
            frame.awaits_value = not frame.awaits_value

    def _lose(self, key: str) -> None:
        """What comes next has no place, as its key or itself is wrong."""
        if not self._open:
            return
        frame = self._open[-1]
        frame.lost = True
        if self.awaits_key:
            frame.step = key

    def _expand(self, anchored: _Anchor, index: int) -> None:
        if len(self._open) + anchored.height > MAX_DEPTH:
            self._stop_nesting(index)
        self._copied_nodes += anchored.nodes
        self._copied_size += anchored.size
        self._grow(anchored.nodes, anchored.size, index)
        self._put(_copy(anchored.value), anchored.inside, index)
        self._completed(anchored.height)

    def _merge(self, frame: _Frame, value: Any, inside: Any) -> None:
        sources = [(value, inside)]
        if isinstance(value, list):
            sources = [(source, inside[count][1]) for count, source in enumerate(value)]
        for source, places in sources:
            if not isinstance(source, dict):
                frame.step = "<<"
                self.flaw("bad_merge", "`<<` takes a mapping, or a list of mappings.", frame.merged_at)
                continue
            for key, item in source.items():
                if key not in frame.value:
                    frame.value[key] = item
                    frame.inside[key] = places[key]


def _parts(path: Path, value: Any, place: Place) -> Iterator[tuple[Path, Any, Place]]:
    """The documents in one: those of a list at the top, and those of lists as kubectl writes them."""
    steps: Path | None = None
    items = value
    if isinstance(value, list) and not path:
        steps = ()
    elif isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list):
        steps = ("items",)
        items = value["items"]
    if steps is None:
        yield path, value, place
        return
    places: Any = place[1]
    for step in steps:
        places = places[step][1]
    for count, item in enumerate(items):
        yield from _parts((*path, *steps, count), item, places[count])


def _too_many(line: int) -> Flaw:
    message = f"More than {MAX_DOCUMENTS} documents may not be sent at once."
    return Flaw(message, "too_many_documents", document=MAX_DOCUMENTS + 1, line=line)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "a text"
    return "empty" if value is None else "a single value"
