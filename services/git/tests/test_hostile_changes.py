"""What a change set may say that comes from somewhere hostile: refused as a whole, and nothing is left."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signalbox_common import changesets
from signalbox_common.changesets import ChangesRefused
from signalbox_git.commits import changes as reading
from tests.support.commits import KINDS, Asked, CommitLab, packed, tar


@pytest.fixture
def lab(tmp_path: Path) -> CommitLab:
    return CommitLab.make(tmp_path)


OF_GIT = [
    *(b".git", b".git/config", b"a/.git/hooks/x", b".GIT/config", b".Git", b".giT/x"),
    *(
        b"git~1",
        b"GIT~1/x",
        b".git ",
        b".git.",
        b".git. .",
        b".git::$INDEX_ALLOCATION/x",
        b".git:x",
        b"a\\.git\\config",
    ),
    *(".git\u200e".encode(), ".g\u200cit".encode(), ".gi\u200dt/x".encode(), "\ufeff.git".encode()),
    *("\u206f.git".encode(), ".g\u202ait".encode(), ".\u206agit/config".encode()),
]
PATHS = [
    *OF_GIT,
    *(b"..", b"../x", b"a/../b", b"a/..", b".", b"./x", b"a/./b", b"/etc/passwd", b"//x", b"a//b", b"a/"),
    *(b"a\0b", b"x" * 256, b"a/" * 3000 + b"b"),
]


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
async def test_hostile_paths_are_refused(lab: CommitLab, path: bytes) -> None:
    before = lab.files()
    for wanted in (("100644", b"x"), ("120000", b"x"), None):
        with pytest.raises(ChangesRefused) as refused:
            await lab.commit(packed(lab.base, {path: wanted}))
        assert refused.value.code == "bad_path"
    assert lab.files() == before


@pytest.mark.parametrize("path", OF_GIT, ids=range(len(OF_GIT)))
async def test_git_would_refuse_them_too(
    lab: CommitLab, path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two layers: ours says which path it is, and that of git does not depend on ours."""
    monkeypatch.setattr(reading, "is_of_git", lambda _path: False)
    with pytest.raises(ChangesRefused) as refused:
        await lab.commit(packed(lab.base, {path: ("100644", b"x")}))
    assert (refused.value.code, refused.value.paths) == ("bad_path", (path,))


@pytest.mark.parametrize(
    "path", [b".gitignore", b".github/x", b"git", b"a.git", b".git-x", b"...", b"git~2", b" x"]
)
def test_what_is_like_it_is_fine(path: bytes) -> None:
    assert changesets.what_is_wrong(path) == ""
    assert not reading.is_of_git(path)


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
    "a size of 2 GB": (packed(None, KINDS, spoil=_set(size=2 << 30)), "changes_too_large"),
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
async def test_what_is_broken_is_refused_as_a_whole(lab: CommitLab, name: str) -> None:
    changes, code = BROKEN[name]
    before = lab.files()
    with pytest.raises(ChangesRefused) as refused:
        await lab.commit(changes)
    assert refused.value.code == code
    assert lab.files() == before
    assert list(lab.folder.iterdir()) == []


async def test_names_that_some_take_for_one_are_several(lab: CommitLab) -> None:
    """In another case, and as the other form of the same letter: git has both, and so has the commit."""
    twins = (b"readme.md", "caf\u00e9".encode(), "cafe\u0301".encode(), b"CAFE")
    asked: Asked = {name: ("100644", b"%d" % number) for number, name in enumerate(twins)}
    made = await lab.commit(packed(lab.base, asked))
    names = lab.git("-c", "core.quotePath=false", "ls-tree", "--name-only", "-z", str(made)).split("\0")
    assert {each.encode() for each in names} >= {b"README.md", *twins}


async def test_too_many_are_refused_before_anything_is_made(lab: CommitLab) -> None:
    many: Asked = {b"%06d" % number: None for number in range(changesets.MOST_ENTRIES + 1)}
    with pytest.raises(ChangesRefused) as refused:
        await lab.commit(packed(lab.base, many))
    assert refused.value.code == "changes_too_large"


async def test_a_member_that_is_no_file_is_refused(lab: CommitLab) -> None:
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
    found = reading.workflow_files(reading.read(io.BytesIO(packed(None, asked))))
    assert sorted(found) == [b".GitHub/Workflows/y.yml", b".github/workflows/x.yml"]
