"""From a change set to a commit: as git would make it, and the same each time."""

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from signalbox_git.command import AnsweredTooMuch, GitDirectory, GitFailed, TookTooLong
from signalbox_git.commits.quarantine import Authorship, Person
from tests.support.commits import BY, FILES, KINDS, Asked, CommitLab, after, packed, tree_of


@pytest.fixture
def lab(tmp_path: Path) -> CommitLab:
    return CommitLab.make(tmp_path)


async def test_each_kind_of_change(lab: CommitLab) -> None:
    made = await lab.commit(packed(lab.base, KINDS))
    assert made is not None
    assert lab.git("rev-parse", f"{made}^{{tree}}") == tree_of(lab.mirror, after(KINDS))
    assert lab.git("rev-parse", f"{made}^") == lab.base
    shown = lab.git("show", "-s", "--format=%an %ae %at %cn %ce %ct%n%B", made)
    assert (
        shown
        == "A. Person person@example.com 1767323045 Signalbox bot@example.com 1767323045\nSubject\n\nBody"
    )
    lab.git("fsck", "--strict", made)


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_changed_it_is_the_tree_that_git_makes(lab: CommitLab, seed: int) -> None:
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
    tree = lab.git("rev-parse", f"{made or lab.base}^{{tree}}")
    assert tree == expected


async def test_made_again_it_is_the_same_and_there_once(lab: CommitLab) -> None:
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
    assert lab.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"


async def test_what_changes_nothing_is_no_commit(lab: CommitLab) -> None:
    before = lab.files()
    assert await lab.commit(packed(lab.base, {b"README.md": FILES[b"README.md"]})) is None
    assert await lab.commit(packed(lab.base, {})) is None
    assert lab.files() == before


async def test_names_and_messages_are_what_they_are(lab: CommitLab) -> None:
    """Nothing in them begins another line, or is an option."""
    people = (Person("Evil\nauthor x <y> 0 +0000", "a>b\0c"), Person("", "\n"))
    by = Authorship(*people, BY.moment, "-m\n\0\ud800 #not a comment\n")
    made = await lab.commit(packed(lab.base, {b"new": ("100644", b"x")}), by)
    assert made is not None
    raw = lab.git("cat-file", "commit", made).splitlines()
    assert raw[2] == "author Evil author x  y  0 +0000 <a b c> 1767323045 +0000"
    assert raw[3] == "committer unknown <unknown> 1767323045 +0000"
    assert raw[5] == "-m"
    lab.git("fsck", "--strict", made)


# -- git itself --------------------------------------------------------------------------------------------


async def test_nobody_else_says_what_git_does(
    lab: CommitLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert lab.git("cat-file", "-p", f"{made}:new.txt") == "a"
    assert not canary.exists()


async def test_it_ends_with_all_that_it_has_started(lab: CommitLab) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"blob\ndata 5\nhello\n"
            await asyncio.sleep(0.01)

    repository = GitDirectory(lab.mirror)
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
