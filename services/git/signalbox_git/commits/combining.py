"""What comes of two trees that have parted, without a work tree: merges, reverts and cherry-picks."""

import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass, replace

from signalbox_git.command import AnsweredTooMuch, GitDirectory, GitFailed, TookTooLong
from signalbox_git.commits.quarantine import Authorship, Person

_SCAFFOLD = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (
        ("NAME", "nobody"),
        ("EMAIL", "nobody@signalbox.invalid"),
        ("DATE", "1000000000 +0000"),
    )
}
_CONFLICT, _NO = 1, 1
_MEMORY = {resource.RLIMIT_DATA: 768 * 1024 * 1024}
"""Trees can be made so that putting two together takes all that there is."""
_SHOWN = 100
"""Paths of a conflict that are named."""
_LARGEST_MESSAGE = 256 * 1024
_DATE = re.compile(r"[0-9]{1,10} [+-][0-9]{4}")


class Conflicting(Exception):
    """Both have changed the same."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(f"{len(paths)} files")
        self.paths = paths


class Unrelated(Exception):
    """They have no commit in common."""


class TooLargeToCombine(Exception):
    """It takes too long, or says too much."""


@dataclass(frozen=True)
class CommitText:
    """What a commit says of itself."""

    author: Person
    date: str | None
    """As git writes it; None where that is none."""
    message: str

    @property
    def subject(self) -> str:
        return self.message.partition("\n")[0][:200]


async def is_commit(git: GitDirectory, value: str) -> bool:
    asked = f"{value}^{{commit}}\n".encode("ascii")
    return await git.line("cat-file", "--batch-check=%(objectname)", given=asked) == value


async def is_ancestor(git: GitDirectory, one: str, of: str) -> bool:
    try:
        await git.run("merge-base", "--is-ancestor", one, of)
    except GitFailed as error:
        if error.status == _NO:
            return False
        raise
    return True


async def merged(git: GitDirectory, ours: str, theirs: str) -> str:
    """The tree of both commits together; raises Conflicting, Unrelated and TooLargeToCombine."""
    options = ("--write-tree", "--no-messages", "--name-only", "-z")
    try:
        said = await git.run("merge-tree", *options, ours, theirs, limits=_MEMORY)
    except GitFailed as error:
        if error.status == _CONFLICT:
            raise Conflicting(_paths(error.said)) from error
        if "unrelated histories" in error.complaint:
            raise Unrelated from error
        raise
    except (TookTooLong, AnsweredTooMuch) as error:
        raise TooLargeToCombine from error
    return said.partition(b"\0")[0].decode("ascii")


async def applied(git: GitDirectory, before: str, after: str, onto: str) -> str:
    """The tree of `onto` with what has changed from one tree to the other; raises as `merged` does."""
    base = await _scaffold(git, before)
    ours, theirs = await _scaffold(git, onto, base), await _scaffold(git, after, base)
    return await merged(git, ours, theirs)


async def _scaffold(git: GitDirectory, tree: str, *parents: str) -> str:
    """A commit that nobody sees: so that git knows where the two have parted."""
    named = [word for parent in parents for word in ("-p", parent)]
    made = await git.run("commit-tree", tree, *named, "-m", "part", env=_SCAFFOLD)
    return made.decode("ascii").strip()


async def commit(git: GitDirectory, tree: str, parents: tuple[str, ...], authorship: Authorship) -> str:
    """The same each time, of the same."""
    return await _commit(git, tree, parents, authorship.message, authorship.environment())


async def commit_again(
    git: GitDirectory, tree: str, parent: str, text: CommitText, authorship: Authorship
) -> str:
    """By whoever has written the other one, and then."""
    env = dict(replace(authorship, author=text.author).environment())
    if text.date is not None:
        env["GIT_AUTHOR_DATE"] = f"@{text.date}"
    return await _commit(git, tree, (parent,), authorship.message, env)


async def _commit(
    git: GitDirectory, tree: str, parents: tuple[str, ...], message: str, env: Mapping[str, str]
) -> str:
    named = [word for parent in parents for word in ("-p", parent)]
    given = message.replace("\0", "").encode("utf-8", "replace")
    made = await git.run("commit-tree", tree, *named, "-F", "-", given=given or b"\n", env=env)
    return made.decode("ascii").strip()


async def tag(git: GitDirectory, name: str, value: str, authorship: Authorship) -> str:
    """An object that names a commit, with a message."""
    env = authorship.environment()
    who = f"{env['GIT_AUTHOR_NAME']} <{env['GIT_AUTHOR_EMAIL']}> {env['GIT_AUTHOR_DATE']}"
    head = f"object {value}\ntype commit\ntag {name}\ntagger {who}\n\n"
    text = head + authorship.message.replace("\0", "")
    return await git.line("mktag", given=text.encode("utf-8", "replace"))


async def parents_of(git: GitDirectory, value: str) -> tuple[str, ...]:
    said = await git.line("rev-list", "--no-walk", "--parents", value)
    return tuple(said.split()[1:])


async def text_of(git: GitDirectory, value: str) -> CommitText:
    """Raises TooLargeToCombine."""
    form = "--format=%an%x00%ae%x00%ad%x00%B"
    try:
        said = await git.run("show", "-s", "--date=raw", form, value, "--", most=_LARGEST_MESSAGE)
    except AnsweredTooMuch as error:
        raise TooLargeToCombine from error
    name, email, date, message = said.decode("utf-8", "replace").split("\0", 3)
    known = date if _DATE.fullmatch(date) else None
    return CommitText(Person(name, email), known, message.rstrip("\n") + "\n")


def _paths(said: str) -> tuple[str, ...]:
    _, *paths, _cut = said.split("\0")  # of all that git says, no more is kept than of a complaint
    return tuple(dict.fromkeys(filter(None, paths)))[:_SHOWN]
