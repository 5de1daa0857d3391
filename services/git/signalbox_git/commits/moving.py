"""How what is delivered goes on top of what others have pushed: one commit, or as many as were kept."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from signalbox_common.changesets import ChangesRefused
from signalbox_git.command import GitDirectory
from signalbox_git.commits import rebase
from signalbox_git.commits.combining import is_ancestor
from signalbox_git.commits.quarantine import Authorship, Person
from signalbox_git.commits.series import SeriesCommit, commits_between

Seal = Callable[[GitDirectory, str], Awaitable[str]]
"""Signs a commit that is there, where that is wanted; the same is the same each time."""


class Movable(Protocol):
    async def onto(self, git: GitDirectory, commit: str, base: str, tip: str) -> str | None:
        """The new tip: the old one where nothing is left to add, None where both have changed the same."""


@dataclass(frozen=True)
class OneCommit:
    authorship: Authorship
    seal: Seal

    async def onto(self, git: GitDirectory, commit: str, base: str, tip: str) -> str | None:
        made = await rebase.onto(git, commit, base, tip, self.authorship)
        return made if made in (None, tip) else await self.seal(git, str(made))


@dataclass(frozen=True)
class ManyCommits:
    """Each as its author has made it; who moves them is their committer, at the moment of the delivery."""

    committer: Person
    moment: datetime
    seal: Seal

    async def onto(self, git: GitDirectory, commit: str, base: str, tip: str) -> str | None:
        """None also where there are merges among them: those have no place in a row."""
        if await is_ancestor(git, tip, commit):
            return commit
        try:
            commits = await commits_between(git, commit, base)
        except ChangesRefused:
            return None
        if any(len(each.parents) != 1 for each in commits):
            return None
        top = tip
        for each in commits:
            moved = await rebase.onto(git, each.id, each.parents[0], top, self._authorship(each))
            if moved is None:
                return None
            top = moved if moved == top else await self.seal(git, moved)
        return top

    def _authorship(self, commit: SeriesCommit) -> Authorship:
        name, email, written_at = commit.author
        return Authorship(Person(name, email), self.committer, self.moment, commit.message, written_at)


async def unsealed(_git: GitDirectory, commit: str) -> str:
    """Where nothing is signed."""
    return commit
