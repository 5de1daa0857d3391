"""What every forge does, and the ways in which it can fail."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from signalbox_common.contracts.git import PullRequestState

MARK = "<!-- signalbox:"
"""What the text of a pull request of ours ends with, so that it is known again."""


@dataclass(frozen=True)
class PullRequestText:
    """What one says."""

    title: str
    body: str
    draft: bool = False
    labels: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()


@dataclass(frozen=True)
class SeenPullRequest:
    """One as its forge has it."""

    number: int
    url: str
    state: PullRequestState
    head: str
    """The branch, of the same repository."""
    head_commit: str
    base: str
    title: str
    body: str = field(repr=False, default="")


@dataclass(frozen=True)
class SeenRepository:
    name: str
    url: str
    default_branch: str | None
    private: bool


def is_own(body: Any) -> bool:
    """Whether its branch is in the repository that it is for: forks have branches of the same names."""
    try:
        head, base = body["head"].get("repo"), body["base"]["repo"]
        return bool(head) and head["full_name"] == base["full_name"]
    except (KeyError, TypeError, AttributeError) as error:
        raise unexpected() from error


def unexpected() -> "ForgeRefused":
    return ForgeRefused("busy", "The forge has answered something else.", passes=True)


def plain(text: object, longest: int) -> str:
    """As it may be kept: a database takes no NUL, and nobody takes half a character."""
    return str(text or "").replace("\0", "").encode("utf-8", "replace").decode()[:longest]


def number_of(value: Any) -> int:
    """Raises ValueError."""
    found = int(value)
    if not 0 < found < 2**53:
        raise ValueError("that is no number of a pull request")
    return found


def web_address(text: object) -> str:
    """What may be shown as a link."""
    found = plain(text, 2000)
    return found if found.startswith(("https://", "http://")) else ""


class ForgeRefused(Exception):
    """Why it does not do what it was asked for, in a word and in a sentence."""

    def __init__(
        self, reason: str, detail: str, *, passes: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.passes = passes
        """Whether it may be otherwise in a while."""
        self.retry_after = retry_after
        """Seconds before which it wants to hear nothing."""


class Forge(Protocol):
    """Of one repository. All of it may be done twice; raises ForgeRefused."""

    async def find(self, head: str, base: str) -> list[SeenPullRequest]:
        """From that branch into that one, in any state; the newest first."""

    async def of_commit(self, commit: str) -> list[SeenPullRequest]:
        """Whose head is, or was, that commit."""

    async def get(self, number: int) -> SeenPullRequest:
        """As it is now."""

    async def open(self, head: str, base: str, text: PullRequestText) -> SeenPullRequest:
        """A new one."""

    async def update(self, number: int, text: PullRequestText) -> SeenPullRequest:
        """Says something else."""

    async def close(self, number: int) -> SeenPullRequest:
        """Without merging it."""
