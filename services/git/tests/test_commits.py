"""From a change set to a commit: as git would make it, the same each time, and nothing that is hostile."""

import asyncio
import hashlib
import io
import json
import os
import random
import subprocess
import tarfile
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from signalbox_git.command import AnsweredTooMuch, GitFailed, Repository, TookTooLong
from signalbox_git.commits import changes as module
from signalbox_git.commits.changes import Changes, ChangesRefused, what_is_wrong
from signalbox_git.commits.quarantine import Authorship, Person, Quarantine

FILES: dict[bytes, tuple[str, bytes]] = {
    b"README.md": ("100644", b"hello\r\n"),
    b"run.sh": ("100755", b"#!/bin/sh\n"),
    b"link": ("120000", b"README.md"),
    b"src/main.py": ("100644", b"print(1)\n"),
    b"src/deep/er": ("100644", b"deep\n"),
    b"becomes-folder": ("100644", b"x"),
    b"becomes-file/a": ("100644", b"a"),
    b".gitattributes": ("100644", b"* text eol=lf filter=evil\n"),
}
ENV = {
    **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "a"),
    **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "a@a"),
    **dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "1000000000 +0000"),
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "PATH": os.environ["PATH"],
}
BY = Authorship(
    Person("A. Person", "person@example.com"),
    Person("Signalbox", "bot@example.com"),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "Subject\n\nBody\n",
)

Tree = Mapping[bytes, tuple[str, bytes]]
Asked = dict[bytes, tuple[str, bytes] | None]
"""What is to be there, or None for what goes."""


def git(folder: Path, *arguments: str, given: bytes = b"") -> str:
    ran = subprocess.run(
        ["git", *arguments], cwd=folder, input=given, env=ENV, capture_output=True, check=True
    )
    return ran.stdout.decode().strip()


def tree_of(folder: Path, files: Tree) -> str:
    """As plain git makes it."""
    index = {**ENV, "GIT_INDEX_FILE": str(folder / "expected")}
    (folder / "expected").unlink(missing_ok=True)
    lines = b""
    for path, (mode, content) in files.items():
        blob = git(folder, "hash-object", "-w", "--stdin", given=content)
        lines += f"{mode} {blob}\t".encode() + path + b"\0"
    for arguments in (["update-index", "-z", "--index-info"], ["write-tree"]):
        ran = subprocess.run(
            ["git", *arguments], cwd=folder, input=lines, env=index, capture_output=True, check=True
        )
    return ran.stdout.decode().strip()


@dataclass
class Lab:
    mirror: Path
    folder: Path
    base: str

    async def commit(self, changes: bytes, by: Authorship = BY) -> str | None:
        async with Quarantine.beside(self.mirror, self.folder) as quarantine:
            made = await quarantine.commit(self.base, Changes.read(io.BytesIO(changes)), by)
            if made is not None:
                await quarantine.accept(made, self.base)
            return made

    def files(self) -> set[str]:
        return {str(path.relative_to(self.mirror)) for path in self.mirror.rglob("*") if path.is_file()}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    mirror, folder = tmp_path / "mirror", tmp_path / "making"
    folder.mkdir()
    mirror.mkdir()
    git(mirror, "init", "-q", "--bare")
    base = git(mirror, "commit-tree", tree_of(mirror, FILES), "-m", "first")
    git(mirror, "update-ref", "refs/heads/main", base)
    return Lab(mirror, folder, base)


def packed(
    base: str | None, asked: Asked, *, spoil: Callable[[list[dict[str, Any]]], Any] | None = None
) -> bytes:
    entries: list[dict[str, Any]] = []
    contents: list[bytes] = []
    for path in sorted(asked):
        wanted = asked[path]
        try:
            entry: dict[str, Any] = {"path": path.decode()}
        except UnicodeDecodeError:
            entry = {"pathBase64": b64encode(path).decode()}
        if wanted is None:
            entries.append(entry | {"kind": "deleted"})
            continue
        mode, content = wanted
        entry |= {"kind": "link" if mode == "120000" else "file", "mode": mode, "size": len(content)}
        entry |= {"sha256": hashlib.sha256(content).hexdigest(), "member": str(len(contents))}
        entries.append(entry)
        contents.append(content)
    if spoil is not None:
        spoil(entries)
    manifest = json.dumps({"version": 1, "base": base, "entries": entries, "left": []}).encode()
    return tar({"manifest.json": manifest} | {str(n): content for n, content in enumerate(contents)})


def tar(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            found = tarfile.TarInfo(name)
            found.size = len(content)
            archive.addfile(found, io.BytesIO(content))
    return file.getvalue()


def after(asked: Asked) -> dict[bytes, tuple[str, bytes]]:
    found = dict(FILES)
    for path, wanted in asked.items():
        if wanted is None:
            found.pop(path, None)
        else:
            found[path] = wanted
    return found


KINDS: Asked = {
    b"README.md": ("100644", b"changed\r\n"),
    b"run.sh": ("100644", b"#!/bin/sh\n"),
    b"link": ("120000", b"../../etc/passwd"),
    b"src/deep/er": None,
    b"becomes-folder": None,
    b"becomes-folder/b": ("100755", b"b"),
    b"becomes-file/a": None,
    b"becomes-file": ("100644", b""),
    b"new/\xff\xfe": ("100644", b"\0\1\2" * 50_000),
    b"-rf": ("100644", b"an option"),
    b"line\nfeed": ("100644", b"x"),
    "bücher/日本".encode(): ("100644", b"y"),
}


# -- as git would ------------------------------------------------------------------------------------------


async def test_each_kind_of_change(lab: Lab) -> None:
    made = await lab.commit(packed(lab.base, KINDS))
    assert made is not None
    assert git(lab.mirror, "rev-parse", f"{made}^{{tree}}") == tree_of(lab.mirror, after(KINDS))
    assert git(lab.mirror, "rev-parse", f"{made}^") == lab.base
    shown = git(lab.mirror, "show", "-s", "--format=%an %ae %at %cn %ce %ct%n%B", made)
    assert (
        shown
        == "A. Person person@example.com 1767323045 Signalbox bot@example.com 1767323045\nSubject\n\nBody"
    )
    git(lab.mirror, "fsck", "--strict", made)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_changed_it_is_the_tree_that_git_makes(lab: Lab, seed: int) -> None:
    chance = random.Random(seed)
    names = [b"a", b"b", b"\xc3\xa4", b"c.txt", b"d d", b"e\xff"]
    asked: Asked = {path: None for path in FILES if chance.random() < 0.4}
    left = {path for path in FILES if path not in asked}
    for _ in range(chance.randrange(1, 20)):
        path = b"/".join(chance.choices(names, k=chance.randrange(1, 4)))
        taken = left | {each for each, wanted in asked.items() if wanted is not None}
        if any(
            each == path or each.startswith(path + b"/") or path.startswith(each + b"/") for each in taken
        ):
            continue
        asked[path] = (
            chance.choice(["100644", "100755", "120000"]),
            chance.randbytes(chance.randrange(1, 300)).replace(b"\0", b"0"),
        )
    made = await lab.commit(packed(lab.base, asked))
    expected = tree_of(lab.mirror, after(asked))
    tree = git(lab.mirror, "rev-parse", f"{made or lab.base}^{{tree}}")
    assert tree == expected


async def test_made_again_it_is_the_same_and_there_once(lab: Lab) -> None:
    """By whoever: also by many at once, and by one after another was killed in the middle."""
    changes = packed(lab.base, KINDS)
    (lab.folder / ".quarantine-left").mkdir()
    made = await asyncio.gather(*(lab.commit(changes) for _ in range(5)))
    assert len(set(made)) == 1
    before = lab.files()
    assert await lab.commit(changes) == made[0]
    assert lab.files() == before
    assert [path for path in before if path.endswith(".pack")] != []
    assert not {path for path in before if "tmp_" in path or "crash" in path or path == "index"}
    assert [path.name for path in lab.folder.iterdir()] == [".quarantine-left"]
    other = replace(BY, moment=BY.moment.replace(second=6))
    assert await lab.commit(changes, other) != made[0]
    assert git(lab.mirror, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


async def test_what_changes_nothing_is_no_commit(lab: Lab) -> None:
    before = lab.files()
    assert await lab.commit(packed(lab.base, {b"README.md": FILES[b"README.md"]})) is None
    assert await lab.commit(packed(lab.base, {})) is None
    assert lab.files() == before


async def test_names_and_messages_are_what_they_are(lab: Lab) -> None:
    """Nothing in them begins another line, or is an option."""
    people = (Person("Evil\nauthor x <y> 0 +0000", "a>b\0c"), Person("", "\n"))
    by = Authorship(*people, BY.moment, "-m\n\0\ud800 #not a comment\n")
    made = await lab.commit(packed(lab.base, {b"new": ("100644", b"x")}), by)
    assert made is not None
    raw = git(lab.mirror, "cat-file", "commit", made).splitlines()
    assert raw[2] == "author Evil author x  y  0 +0000 <a b c> 1767323045 +0000"
    assert raw[3] == "committer unknown <unknown> 1767323045 +0000"
    assert raw[5] == "-m"
    git(lab.mirror, "fsck", "--strict", made)


# -- hostile -----------------------------------------------------------------------------------------------

OF_GIT = [
    *(b".git", b".git/config", b"a/.git/hooks/x", b".GIT/config", b".Git", b".giT/x"),
    *(b"git~1", b"GIT~1/x", b".git ", b".git.", b".git. .", b".git::$INDEX_ALLOCATION/x", b".git:x"),
    *(".git\u200e".encode(), ".g\u200cit".encode(), ".gi\u200dt/x".encode(), "\ufeff.git".encode()),
    *("\u206f.git".encode(), ".g\u202ait".encode(), ".\u206agit/config".encode()),
]
PATHS = [
    *OF_GIT,
    *(b"..", b"../x", b"a/../b", b"a/..", b".", b"./x", b"a/./b", b"/etc/passwd", b"//x", b"a//b", b"a/"),
    *(b"a\0b", b"x" * 256, b"a/" * 3000 + b"b"),
]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
async def test_hostile_paths_are_refused(lab: Lab, path: bytes) -> None:
    before = lab.files()
    for wanted in (("100644", b"x"), ("120000", b"x"), None):
        with pytest.raises(ChangesRefused) as refused:
            await lab.commit(packed(lab.base, {path: wanted}))
        assert refused.value.code == "bad_path"
    assert lab.files() == before


@pytest.mark.parametrize("path", OF_GIT, ids=range(len(OF_GIT)))
async def test_git_would_refuse_them_too(lab: Lab, path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers: ours says which path it is, and that of git does not depend on ours."""
    monkeypatch.setattr(module, "what_is_wrong", lambda _path: "")
    with pytest.raises(ChangesRefused) as refused:
        await lab.commit(packed(lab.base, {path: ("100644", b"x")}))
    assert (refused.value.code, refused.value.paths) == ("bad_path", (path,))


@pytest.mark.parametrize(
    "path", [b".gitignore", b".github/x", b"git", b"a.git", b".git-x", b"...", b"git~2", b" x"]
)
def test_what_is_like_it_is_fine(path: bytes) -> None:
    assert what_is_wrong(path) == ""


def _set(**values: Any) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda entries: entries[0].update(values)


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "bad_changes"),
    "no tar": (b"x" * 2000, "bad_changes"),
    "no manifest": (tar({"0": b"x"}), "bad_changes"),
    "a manifest that is none": (tar({"manifest.json": b"["}), "bad_changes"),
    "nested beyond reason": (tar({"manifest.json": b"[" * 200_000}), "bad_changes"),
    "another version": (
        tar({"manifest.json": b'{"version": 2, "base": null, "entries": []}'}),
        "bad_changes",
    ),
    "a digest": (packed(None, KINDS, spoil=_set(sha256="0" * 64)), "bad_changes"),
    "a size": (packed(None, KINDS, spoil=_set(size=1)), "bad_changes"),
    "a size below none": (packed(None, KINDS, spoil=_set(size=-1)), "bad_changes"),
    "a size that is none": (packed(None, KINDS, spoil=_set(size=True)), "bad_changes"),
    "a size beyond all": (packed(None, KINDS, spoil=_set(size=10**12)), "changes_too_large"),
    "a member that is not there": (packed(None, KINDS, spoil=_set(member="999")), "bad_changes"),
    "a member of another": (packed(None, KINDS, spoil=_set(member="1")), "bad_changes"),
    "a member with a path": (packed(None, KINDS, spoil=_set(member="../0")), "bad_changes"),
    "a mode of a folder": (packed(None, KINDS, spoil=_set(mode="040000")), "bad_changes"),
    "a mode of a module": (packed(None, KINDS, spoil=_set(mode="160000")), "bad_changes"),
    "setuid": (packed(None, KINDS, spoil=_set(mode="104755")), "bad_changes"),
    "a link that is a file": (packed(None, KINDS, spoil=_set(kind="link")), "bad_changes"),
    "two paths": (packed(None, KINDS, spoil=_set(pathBase64="YQ==")), "bad_changes"),
    "no path": (packed(None, KINDS, spoil=lambda entries: entries[0].pop("path")), "bad_changes"),
    "a path that is no base64": (packed(None, {b"\xff": None}, spoil=_set(pathBase64="?")), "bad_path"),
    "half of a pair": (packed(None, {b"x": None}, spoil=_set(path="\ud800")), "bad_path"),
    "twice": (packed(None, KINDS, spoil=lambda entries: entries.append(entries[-1])), "bad_changes"),
    "in another order": (packed(None, KINDS, spoil=lambda entries: entries.reverse()), "bad_changes"),
    "a file in a file": (packed(None, {b"a": ("100644", b"1"), b"a/b": ("100644", b"2")}), "bad_changes"),
    "a file in a link": (
        packed(None, {b"a": ("120000", b"/etc"), b"a/b/c": ("100644", b"2")}),
        "bad_changes",
    ),
    "a link to nowhere": (packed(None, {b"a": ("120000", b"")}), "bad_path"),
    "a link beyond reason": (packed(None, {b"a": ("120000", b"x" * 5000)}), "bad_path"),
    "cut off": (packed(None, KINDS)[:-20_000], "bad_changes"),
    "content for what goes": (packed(None, {b"a": None}, spoil=_set(mode="100644")), "bad_changes"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_broken_is_refused_as_a_whole(lab: Lab, name: str) -> None:
    changes, code = BROKEN[name]
    before = lab.files()
    with pytest.raises(ChangesRefused) as refused:
        await lab.commit(changes)
    assert refused.value.code == code
    assert lab.files() == before
    assert list(lab.folder.iterdir()) == []


async def test_too_many_are_refused_before_anything_is_made(lab: Lab) -> None:
    many: Asked = {b"%06d" % number: None for number in range(module.MOST_ENTRIES + 1)}
    with pytest.raises(ChangesRefused) as refused:
        await lab.commit(packed(lab.base, many))
    assert refused.value.code == "changes_too_large"


async def test_a_member_that_is_no_file_is_refused(lab: Lab) -> None:
    raw = io.BytesIO(packed(lab.base, {b"a": ("100644", b"x")}))
    file = io.BytesIO()
    with tarfile.open(fileobj=raw) as archive, tarfile.open(fileobj=file, mode="w") as spoiled:
        manifest = archive.getmember("manifest.json")
        spoiled.addfile(manifest, archive.extractfile(manifest))
        link = tarfile.TarInfo("0")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        spoiled.addfile(link)
    with pytest.raises(ChangesRefused) as refused:
        await lab.commit(file.getvalue())
    assert refused.value.paths == (b"a",)


def test_workflow_files_are_known_in_any_case() -> None:
    asked: Asked = dict.fromkeys(
        [b".github/workflows/x.yml", b".GitHub/Workflows/y.yml", b".github/other"], None
    )
    found = Changes.read(io.BytesIO(packed(None, asked))).workflow_files
    assert sorted(found) == [b".GitHub/Workflows/y.yml", b".github/workflows/x.yml"]


# -- git itself --------------------------------------------------------------------------------------------


async def test_nobody_else_says_what_git_does(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the environment, nor a configuration of somebody, nor what is in the mirror."""
    canary = tmp_path / "canary"
    evil = f"[core]\n\thooksPath = {tmp_path}\n\tfsmonitor = touch {canary}\n"
    evil += f'[filter "evil"]\n\tclean = touch {canary}\n'
    (tmp_path / ".gitconfig").write_text(evil)
    for name, value in (
        ("HOME", str(tmp_path)),
        ("GIT_DIR", str(tmp_path)),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "core.fsmonitor"),
        ("GIT_CONFIG_VALUE_0", f"touch {canary}"),
        ("GIT_EXTERNAL_DIFF", f"touch {canary}"),
        ("GIT_TRACE", str(canary)),
    ):
        monkeypatch.setenv(name, value)
    (lab.mirror / "config").write_text((lab.mirror / "config").read_text() + evil)
    for hook in ("post-index-change", "reference-transaction", "pre-auto-gc"):
        (lab.mirror / "hooks").mkdir(exist_ok=True)
        (lab.mirror / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {canary}\n")
        (lab.mirror / "hooks" / hook).chmod(0o755)
    made = await lab.commit(packed(lab.base, {b"new.txt": ("100644", b"a\r\n")}))
    assert git(lab.mirror, "cat-file", "-p", f"{made}:new.txt") == "a"
    assert not canary.exists()


async def test_it_ends_with_all_that_it_has_started(lab: Lab) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"blob\ndata 5\nhello\n"
            await asyncio.sleep(0.01)

    repository = Repository(lab.mirror)
    with pytest.raises(TookTooLong):
        await repository.run("fast-import", "--quiet", given=endless(), within=0.5)
    with pytest.raises(AnsweredTooMuch):
        await repository.run("cat-file", "--batch-all-objects", "--batch", most=100)
    with pytest.raises(GitFailed, match="ended with 128"):
        await repository.run("rev-parse", "--verify", "nothing")
    task = asyncio.create_task(repository.run("fast-import", "--quiet", given=endless()))
    await asyncio.sleep(0.2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    left = subprocess.run(["pgrep", "-f", f"git-dir={lab.mirror}"], capture_output=True, check=False)
    assert left.stdout == b""
