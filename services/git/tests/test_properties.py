"""What is read that others have written: never anything else than a value, or a refusal; and git agrees."""

import io
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from signalbox_common import changesets
from signalbox_common.changesets import ChangesRefused
from signalbox_common.contracts.git import RefName, Revision, TreePath, split_revision
from signalbox_git.commits import bundles, messages
from signalbox_git.commits import changes as reading_changes
from signalbox_git.mirrors import reading
from signalbox_git.remotes.remote import _refs_of
from tests.support.checkouts import git
from tests.support.commits import KINDS, packed

NAME: TypeAdapter[str] = TypeAdapter(RefName)
REVISION: TypeAdapter[str] = TypeAdapter(Revision)
PATH: TypeAdapter[str] = TypeAdapter(TreePath)
PIECES = ["a", "B", "/", ".", "..", ".lock", "@", "@{", "-", "~", "^", ":", "?", "*", "[", "\\", " ", "\t"]
REF_TEXT = st.lists(st.sampled_from([*PIECES, "\x7f", "é", "main", "HEAD", "~1", "^2"]), max_size=6).map(
    "".join
)
ODD = st.binary(max_size=30).map(lambda raw: raw.replace(b"\0", b"").replace(b"\n", b""))
ID = st.sampled_from([b"a" * 40, b"0" * 40, b"f" * 64])


def _is(adapter: TypeAdapter[str], text: str) -> bool:
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True


# -- names ----------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(REF_TEXT)
@example("a.lock/b")
@example("a/.b")
@example("a./b")
def test_git_has_the_same_names(text: str) -> None:
    """But for those that would be options, or mean something else where a name is asked for."""
    asked = ["git", "check-ref-format", f"refs/heads/{text}"]
    of_git = bool(text) and subprocess.run(asked, check=False).returncode == 0
    assert _is(NAME, text) == (of_git and not text.startswith("-") and text != "@")


@given(REF_TEXT)
def test_a_revision_is_a_name_and_steps(text: str) -> None:
    name, steps = split_revision(text)
    assert name + steps == text
    assert set(steps) <= set("~^0123456789")
    if _is(REVISION, text):
        assert _is(NAME, name)
        assert not text.startswith("-")


@given(st.lists(st.sampled_from(["a", ".", "..", "/", "é", " ", "\\"]), max_size=8).map("".join))
def test_a_path_stays_in_its_tree(text: str) -> None:
    is_clean = bool(text) and not {"", ".", ".."} & {*text.split("/")}
    assert _is(PATH, text) == is_clean


PARTS = st.lists(
    st.sampled_from(
        [".git", ".GIT", "git~1", "GIT~1", "\u200c", "\ufeff", " ", ".", ":", "x", "~", "\\", "..", "i"]
    ),
    min_size=1,
    max_size=4,
).map(lambda pieces: "".join(pieces).encode())


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scratch")
    git(folder, "init", "-q", "--bare")
    return folder


@settings(deadline=None, max_examples=12)
@given(parts=st.lists(PARTS, min_size=30, max_size=60))
def test_what_git_does_not_take_we_do_not_either(scratch: Path, parts: Sequence[bytes]) -> None:
    blob = git(scratch, "hash-object", "-w", "--stdin", given=b"x").strip()
    paths = {b"%d/%b" % (number, part) for number, part in enumerate(parts)}
    index = {"GIT_INDEX_FILE": str(scratch / "index")}
    (scratch / "index").unlink(missing_ok=True)
    lines = b"".join(f"100644 {blob}\t".encode() + path + b"\0" for path in paths)
    protected = ("-c", "core.protectHFS=true", "-c", "core.protectNTFS=true")
    git(scratch, *protected, "update-index", "-z", "--index-info", given=lines, env=index)
    taken = {each.encode() for each in git(scratch, "ls-files", "-z", env=index).split("\0") if each}
    ours = {
        path for path in paths if not changesets.what_is_wrong(path) and not reading_changes.is_of_git(path)
    }
    assert ours <= taken


# -- words of git, and of remotes ----------------------------------------------------------------------


@given(st.lists(st.tuples(ID, *[ODD] * 9), max_size=4))
def test_commits_of_whatever_words(records: list[tuple[bytes, ...]]) -> None:
    said = b"".join(field + b"\0" for record in records for field in record)
    found = list(reading._commits(said))
    assert len(found) == len(records)
    assert all(len(each.subject) <= 1000 for each in found)


@given(st.lists(st.tuples(st.sampled_from([b"100644", b"777777", b"0"]), ID, ODD), max_size=4))
def test_entries_of_whatever_names(lines: list[tuple[bytes, bytes, bytes]]) -> None:
    said = b"".join(b"%b blob %b       -\t%b\0" % line for line in lines)
    assert len(list(reading._entries(said, "a/"))) == len(lines)


@given(st.lists(st.tuples(ID, ODD, ODD, ODD), max_size=4))
def test_blame_of_whatever_words(groups: list[tuple[bytes, bytes, bytes, bytes]]) -> None:
    said = b"".join(
        own
        + b" 1 %d 2\nauthor " % first
        + b"%b\nauthor-time 9%b\nsummary %b\nfilename x\n" % (name, at, title)
        for first, (own, name, at, title) in enumerate(groups, 1)
    )
    assert [each.first for each in reading._blamed(said)] == [*range(1, len(groups) + 1)]


@given(
    st.binary(max_size=200)
    | st.lists(st.tuples(ID, ODD)).map(lambda refs: b"".join(b"%b\t%b\n" % each for each in refs))
)
def test_refs_of_whatever_a_remote_says(said: bytes) -> None:
    found = _refs_of(said)
    assert found.head is None or _is(NAME, found.head)
    assert all(name.startswith(("refs/heads/", "refs/tags/")) for name in found.mirrored)


# -- what is delivered ----------------------------------------------------------------------

GOOD = packed(None, KINDS)


@given(
    st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=8),
    st.integers(0, len(GOOD)),
)
def test_a_change_set_with_any_bytes_changed(changed: list[tuple[int, int]], end: int) -> None:
    raw = bytearray(GOOD)
    for place, byte in changed:
        raw[place] = byte
    _read_changes(bytes(raw))
    _read_changes(bytes(raw[:end]))


@given(st.binary(max_size=2000))
def test_a_change_set_of_any_bytes(raw: bytes) -> None:
    _read_changes(raw)


def _read_changes(raw: bytes) -> None:
    try:
        found = reading_changes.read(io.BytesIO(raw))
        for _path, _entry, content in found.contents():
            for _piece in content:
                pass
    except ChangesRefused as refusal:
        _is_said(refusal)


def _is_said(refusal: ChangesRefused) -> None:
    assert refusal.code


LINES = [
    b"# v2 git bundle\n",
    b"-" + b"a" * 40 + b" x\n",
    b"a" * 40 + b" refs/heads/a\n",
    b"@object-format=sha1\n",
    b"\n",
    b"PACK\0\0\0\2\0\0\0\1",
]


@given(st.lists(st.sampled_from(LINES) | st.binary(max_size=20), max_size=8).map(b"".join))
@example(b"".join(LINES[each] for each in (0, 2, 4, 5)))
def test_the_head_of_a_bundle_of_any_bytes(raw: bytes) -> None:
    try:
        found = bundles.read_head(io.BytesIO(raw))
    except ChangesRefused as refusal:
        _is_said(refusal)
    else:
        assert raw[found.pack_at :].startswith(b"PACK")


WORDS = st.text(st.sampled_from("aB:- \n\t\r\0<>é"), min_size=1, max_size=60)
TRAILERS = st.lists(
    st.sampled_from(["Co-authored-by: A <a@b.example>", "Signed-off-by: B <b@b.example>"]), max_size=3
)


@given(WORDS.filter(lambda text: bool(text.replace("\0", "").strip())), TRAILERS)
def test_trailers_are_there_once_however_often(text: str, trailers: list[str]) -> None:
    once = messages.with_trailers(text, trailers)
    assert messages.with_trailers(once, trailers) == once
    assert "\0" not in once
    assert once.endswith("\n")
    assert {*trailers} <= {*once.split("\n")}


@given(WORDS, WORDS, WORDS)
def test_a_template_is_filled_in_once(message: str, template: str, value: str) -> None:
    """What a message says is never taken for a placeholder."""
    filled = messages.composed("{run}{author}", "{message}" + template.replace("{", ""), {"run": value}, [])
    assert filled.startswith("{run}{author}")
    assert "\0" not in messages.composed(message, template, {"author": value}, [])
