"""One table of repositories that want to do harm: how each is made, and what must come of it."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.bundles import delta_pack_of, sealed
from tests.support.hostile import FILE, FOLDER, LINK, PERSON, PROGRAM, Entry, Objects, zeros_pack

LAID_OUT, NAME_REFUSED, TOO_LARGE = "laid out", "cannot be laid out", "too large"
MALFORMED = "refused: malformed"
Ref = tuple[bytes, str]
_ATTRIBUTES = b"""\
* filter=evil diff=evil merge=evil ident export-subst
*.crlf text eol=crlf
*.enc working-tree-encoding=x
"""
_CONFIG = b"""\
[core]
	bare = true
	fsmonitor = ./run.sh
	hooksPath = hooks
	pager = ./run.sh
[alias]
	log = !./run.sh
[filter "evil"]
	smudge = ./run.sh
	clean = ./run.sh
	required = true
[diff "evil"]
	textconv = ./run.sh
	command = ./run.sh
"""


@dataclass(frozen=True)
class Canary:
    """What must stay as it is, and where somebody listens whom nobody may ask."""

    folder: Path
    port: int

    @property
    def script(self) -> bytes:
        """Leaves something, where it is run."""
        return f"#!/bin/sh\ntouch {self.folder}/touched\n".encode()


@dataclass(frozen=True)
class Made:
    refs: Sequence[Ref]
    pack: bytes


@dataclass(frozen=True)
class Row:
    make: Callable[[Objects, Canary], Made]
    ends: str = LAID_OUT
    holds: Mapping[str, bytes | str] = field(default_factory=dict)
    """Of what is laid out: bytes of a file, or where a link leads."""


def made(objects: Objects, commit: str, *more: Ref, without: Iterable[str] = ()) -> Made:
    return Made([(b"HEAD", commit), (b"refs/heads/main", commit), *more], objects.pack(without=without))


def _tree(*entries: tuple[str, bytes, bytes]) -> Callable[[Objects, Canary], Made]:
    """A commit with one tree, its entries in that order."""

    def make(objects: Objects, _canary: Canary) -> Made:
        tree = objects.tree([(mode, name, objects.blob(content)) for mode, name, content in entries])
        return made(objects, objects.commit(tree))

    return make


def _file(name: bytes) -> Callable[[Objects, Canary], Made]:
    return _tree((FILE, name, b"x"))


def _files(
    files: Callable[[Objects, Canary], Mapping[bytes, bytes | Entry]],
) -> Callable[[Objects, Canary], Made]:
    return lambda objects, canary: made(objects, objects.commit(objects.files(files(objects, canary))))


def _with_folder(*order: str) -> Callable[[Objects, Canary], Made]:
    """`a` as a folder and as something else, with `a.txt` between them: git does not see it at once."""

    def make(objects: Objects, _canary: Canary) -> Made:
        kinds = {
            "file": (FILE, b"a", objects.blob(b"1")),
            "link": (LINK, b"a", objects.blob(b"/tmp")),
            "between": (FILE, b"a.txt", objects.blob(b"2")),
            "folder": objects.folder(b"a", {b"x": b"3"}),
        }
        return made(objects, objects.commit(objects.tree([kinds[each] for each in order])))

    return make


def _deep(levels: int, name: bytes = b"d") -> Callable[[Objects, Canary], Made]:
    def make(objects: Objects, _canary: Canary) -> Made:
        tree = objects.files({b"f": b"x"})
        for _ in range(levels):
            tree = objects.tree([(FOLDER, name, tree)])
        return made(objects, objects.commit(tree))

    return make


def _nested(levels: int, width: int) -> Callable[[Objects, Canary], Made]:
    """As many files as `width` to the power of `levels`, of a few hundred bytes."""

    def make(objects: Objects, _canary: Canary) -> Made:
        tree = objects.files({b"f": b"x"})
        for _ in range(levels):
            tree = objects.tree([(FOLDER, b"%02d" % number, tree) for number in range(width)])
        before = objects.commit(objects.files({b"a": b"x"}))
        return made(objects, objects.commit(tree, before))

    return make


def _wide(count: int) -> Callable[[Objects, Canary], Made]:
    def make(objects: Objects, _canary: Canary) -> Made:
        blob = objects.blob(b"x")
        entries = [(FILE, b"%07d" % number, blob) for number in range(count)]
        return made(objects, objects.commit(objects.tree(entries)))

    return make


def _zeros(size: int) -> Callable[[Objects, Canary], Made]:
    def make(objects: Objects, _canary: Canary) -> Made:
        blob, _ = zeros_pack(size)
        commit = objects.commit(objects.tree([(FILE, b"zeros", blob)]))
        _, pack = zeros_pack(size, list(objects.found.values()))
        return Made([(b"HEAD", commit), (b"refs/heads/main", commit)], pack)

    return make


def _said(head: bytes | None = None, message: bytes = b"A commit\n") -> Callable[[Objects, Canary], Made]:
    def make(objects: Objects, _canary: Canary) -> Made:
        return made(objects, objects.commit(objects.files({b"a": b"x"}), head=head, message=message))

    return make


def _dated(moment: bytes) -> bytes:
    return b"author A <a@b.example> %b +0000\ncommitter A <a@b.example> %b +0000" % (moment, moment)


def _without(what: str) -> Callable[[Objects, Canary], Made]:
    def make(objects: Objects, _canary: Canary) -> Made:
        blob = objects.blob(b"x")
        parent = objects.commit(objects.tree([(FILE, b"a", blob)]))
        tree = objects.tree([(FILE, b"b", blob)])
        commit = objects.commit(tree, parent)
        names = {"blob": blob, "tree": tree, "parent": parent, "commit": commit}
        return made(objects, commit, without=[names[what]])

    return make


def _many_parents(count: int) -> Callable[[Objects, Canary], Made]:
    def make(objects: Objects, _canary: Canary) -> Made:
        tree = objects.files({b"a": b"x"})
        parents = [objects.commit(tree, message=b"%d\n" % number) for number in range(count)]
        return made(objects, objects.commit(tree, *parents))

    return make


def _foreign_base(objects: Objects, _canary: Canary) -> Made:
    """What it advertises is made of something that is nowhere."""
    commit = objects.commit(objects.files({b"a": b"x"}))
    return Made([(b"HEAD", commit), (b"refs/heads/main", commit)], delta_pack_of("a" * 40, 3, b"\3\3\3abc"))


def _other_content(objects: Objects, _canary: Canary) -> Made:
    """A good pack, and an id that nothing in it has."""
    objects.commit(objects.files({b"a": b"x"}))
    return Made([(b"HEAD", "b" * 40), (b"refs/heads/main", "b" * 40)], objects.pack())


def _claims(kind: int, size: int) -> Callable[[Objects, Canary], Made]:
    """One object that says that it is so large: git takes the memory before it looks."""

    def make(_objects: Objects, _canary: Canary) -> Made:
        head, left = bytearray(), size >> 4
        first = (kind << 4) | (size & 15)
        while left:
            head.append(first | 0x80)
            first, left = left & 0x7F, left >> 7
        head.append(first)
        return Made([(b"HEAD", "c" * 40), (b"refs/heads/main", "c" * 40)], sealed(bytes(head) + b"x" * 64, 1))

    return make


def _refs(*names: bytes) -> Callable[[Objects, Canary], Made]:
    def make(objects: Objects, _canary: Canary) -> Made:
        commit = objects.commit(objects.files({b"a": b"x"}))
        return made(objects, commit, *((name, commit) for name in names))

    return make


def _many_refs(count: int) -> Callable[[Objects, Canary], Made]:
    return _refs(*(b"refs/heads/n%05d" % number for number in range(count)))


def _with_replacement(objects: Objects, canary: Canary) -> Made:
    """What git is told to look at in place of the commit."""
    evil = objects.commit(objects.files({b"run.sh": (PROGRAM, b"run.sh", objects.blob(canary.script))}))
    commit = objects.commit(objects.files({b"a": b"honest"}))
    return made(objects, commit, (f"refs/replace/{commit}".encode(), evil), (b"refs/heads/evil", evil))


def _link_swap(objects: Objects, canary: Canary) -> Made:
    """A link out of it in one commit, and a folder with a file at the same place in the next."""
    link = objects.link(b"out", str(canary.folder).encode())
    before = objects.commit(objects.files({b"out": link, b"a": b"x"}))
    folder = objects.folder(b"out", {b"secret": b"overwritten"})
    return made(objects, objects.commit(objects.files({b"out": folder, b"a": b"x"}), before))


def _programs(objects: Objects, canary: Canary) -> dict[bytes, bytes | Entry]:
    """What git would run, if it believed a repository."""
    script = (PROGRAM, b"run.sh", objects.blob(canary.script))
    hook = (PROGRAM, b"post-checkout", script[2])
    bare: dict[bytes, bytes | Entry] = {
        b"HEAD": b"ref: refs/heads/main\n",
        b"config": _CONFIG,
        b"run.sh": script,
        b"hooks": objects.folder(b"hooks", {b"post-checkout": hook}),
        b"objects": objects.folder(b"objects", {b"info": b"x"}),
        b"refs": objects.folder(b"refs", {b"heads": b"x"}),
    }
    return bare | {
        b".gitattributes": _ATTRIBUTES,
        b".gitconfig": _CONFIG,
        b"bare": objects.folder(b"bare", bare),
        b"x.enc": b"x\n",
        b"x.crlf": b"x\n",
    }


def _links(objects: Objects, canary: Canary) -> dict[bytes, bytes | Entry]:
    return {
        b"passwd": objects.link(b"passwd", b"/etc/passwd"),
        b"folder": objects.link(b"folder", str(canary.folder).encode()),
        b"self": objects.link(b"self", b"self"),
        b"up": objects.link(b"up", b"../" * 40 + b"etc"),
    }


_OF_GIT = {
    ".git": b".git",
    ".GIT": b".GIT",
    "git~1": b"git~1",
    "GIT~1": b"GIT~1",
    "a joiner": ".g\u200cit".encode(),
    "a mark": "\ufeff.git".encode(),
    "a space": b".git ",
    "a dot": b".git.",
    "a stream": b".git::$INDEX_ALLOCATION",
    "a backslash": b"a\\.git\\config",
    "a dot alone": b".",
    "two dots": b"..",
    "a slash": b"a/b",
    "absolute": b"/etc/passwd",
    "nothing": b"",
}
_ODD_NAMES = {
    "a line feed": b"a\nb",
    "an option": b"-rf",
    "a long option": b"--upload-pack=x",
    "no text": b"\xff\xfe",
    "an escape": b"\x1b[2J",
    "255 bytes": b"x" * 255,
    "a device": b"con",
}
_ODD_REFS = {
    "upwards": b"refs/heads/../../x",
    "two dots": b"refs/heads/a..b",
    "an escape": b"refs/heads/a\x1b[2Jb",
    "a tab": b"refs/heads/a\tb",
    "a lock": b"refs/heads/x.lock",
    "absolute": b"/etc/passwd",
    "of ours": b"refs/signalbox/commits/" + b"a" * 40,
    "main twice": b"refs/heads/main",
    "an option": b"refs/heads/-x",
    "no text": b"refs/heads/\xff",
    "HEAD": b"refs/heads/HEAD",
    "a tag called main": b"refs/tags/main",
    "1,600 folders": b"refs/heads/" + b"a/" * 800 + b"b",
}
ROWS: dict[str, Row] = {
    **{f"name: {name}": Row(_file(raw), MALFORMED) for name, raw in _OF_GIT.items()},
    **{
        f"folder: {name}": Row(_tree((FOLDER, raw, b"")), MALFORMED)
        for name, raw in itertools.islice(_OF_GIT.items(), 3)
    },
    **{f"name: {name}": Row(_file(raw)) for name, raw in _ODD_NAMES.items()},
    "name: 256 bytes": Row(_file(b"x" * 256), NAME_REFUSED),
    "name: 4096 bytes": Row(_file(b"x" * 4096), NAME_REFUSED),
    "path: 3,900 bytes": Row(_deep(26, b"y" * 150), NAME_REFUSED),
    "path: 100 folders": Row(_deep(100)),
    "path: 1,000 folders": Row(_deep(1000), NAME_REFUSED),
    "path: 20,000 folders": Row(_deep(20_000), NAME_REFUSED),
    "entries: twice": Row(_tree((FILE, b"a", b"1"), (FILE, b"a", b"2")), MALFORMED),
    "entries: another order": Row(_tree((FILE, b"b", b"1"), (FILE, b"a", b"2")), MALFORMED),
    "entries: file and folder": Row(_with_folder("file", "folder"), MALFORMED),
    "entries: file, other, folder": Row(_with_folder("file", "between", "folder"), MALFORMED),
    "entries: link, other, folder": Row(_with_folder("link", "between", "folder"), MALFORMED),
    "entries: mode 0": Row(_tree(("0", b"a", b"1")), MALFORMED),
    "entries: a mode with a zero": Row(_tree(("040000", b"a", b"")), MALFORMED),
    "entries: setuid": Row(_tree(("104755", b"a", b"1")), holds={"a": b"1"}),
    "tree: without NUL": Row(
        lambda objects, _: made(objects, objects.commit(objects.put("tree", b"100644 abc"))), MALFORMED
    ),
    "tree: 10 to the 10th files": Row(_nested(10, 10), TOO_LARGE),
    "links: out": Row(_files(_links), holds={"passwd": "/etc/passwd", "self": "self"}),
    "links: swapped": Row(_link_swap, holds={"out/secret": b"overwritten"}),
    "links: .gitmodules": Row(_tree((LINK, b".gitmodules", b"/etc/passwd")), MALFORMED),
    "links: .gitattributes": Row(
        _tree((LINK, b".gitattributes", b"/etc/passwd")), holds={".gitattributes": "/etc/passwd"}
    ),
    "links: .gitignore": Row(
        _tree((LINK, b".gitignore", b"/etc/passwd")), holds={".gitignore": "/etc/passwd"}
    ),
    "programs": Row(_files(_programs), holds={"x.crlf": b"x\r\n", "x.enc": b"x\n"}),
    "zeros: 65 MB in 65 KB": Row(_zeros(65 << 20), TOO_LARGE),
    "object: says 3 GB, a commit": Row(_claims(1, 3 << 30), "refused: too_large"),
    "object: says 3 GB, a tree": Row(_claims(2, 3 << 30), "refused: too_large"),
    "object: says 8 exabytes": Row(_claims(3, (1 << 63) - 1), MALFORMED),
    "commit: without author": Row(_said(b"committer " + PERSON), MALFORMED),
    "commit: of nobody": Row(_said(b""), MALFORMED),
    "commit: beyond all years": Row(_said(_dated(b"9" * 20)), MALFORMED),
    "commit: in a billion years": Row(_said(_dated(b"31556889864403199"))),
    "commit: NUL in what it says": Row(_said(message=b"a\0b\n"), MALFORMED),
    "commit: 2 MB in its title": Row(_said(message=b"word " * 400_000)),
    "commit: an escape in its title": Row(_said(message=b"\x1b[2J\x07a\n")),
    "commit: 200 parents": Row(_many_parents(200)),
    **{f"missing: {what}": Row(_without(what), MALFORMED) for what in ("blob", "tree", "parent", "commit")},
    "pack: a foreign base": Row(_foreign_base, MALFORMED),
    "pack: another content": Row(_other_content, MALFORMED),
    "pack: none": Row(lambda objects, canary: Made(_refs()(objects, canary).refs, b""), MALFORMED),
    "pack: garbage": Row(lambda objects, canary: Made(_refs()(objects, canary).refs, b"x" * 500), MALFORMED),
    **{f"ref: {name}": Row(_refs(raw), holds={"a": b"x"}) for name, raw in _ODD_REFS.items()},
    "ref: below another": Row(_refs(b"refs/heads/main/sub"), MALFORMED),
    "ref: 300 bytes": Row(_refs(b"refs/heads/" + b"x" * 300), MALFORMED),
    "ref: a replacement": Row(_with_replacement, holds={"a": b"honest"}),
    "ref: called like a commit": Row(_refs(b"refs/heads/" + b"d" * 40, b"refs/tags/" + b"d" * 40)),
    "refs: 60": Row(_many_refs(60)),
}
LARGE_ROWS: dict[str, Row] = {
    "path: 100,000 folders": Row(_deep(100_000), MALFORMED),
    "tree: 10 to the 10th files": Row(_nested(10, 10), TOO_LARGE),
    "tree: a million files": Row(_wide(1_000_001), TOO_LARGE),
    "zeros: 1 GB in 1 MB": Row(_zeros(1 << 30), TOO_LARGE),
    "commit: 10 MB in its title": Row(_said(message=b"word " * 2_000_000)),
    "commit: 10,000 parents": Row(_many_parents(10_000)),
    "refs: 10,000": Row(_many_refs(10_000)),
}
"""With the bounds of an installation: seconds each."""
