"""What every forge does, and how its answers are read: whoever serves it may say anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from signalbox_common.contracts.git import PullRequestState
from signalbox_git.remotes.access import RemoteRefused

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


class Forge(Protocol):
    """Of one repository. All of it may be done twice; raises RemoteRefused."""

    async def find(self, head: str, base: str) -> list[SeenPullRequest]:
        """From that branch into that one, in any state; the newest first."""

    async def of_commit(self, commit: str) -> list[SeenPullRequest]:
        """Whose head is, or was, that commit."""

    async def get(self, number: int) -> SeenPullRequest:
        """As it is now."""

    async def open(self, head: str, base: str, text: PullRequestText) -> SeenPullRequest:
        """A new one, or the one that is open for these branches."""

    async def update(self, number: int, text: PullRequestText) -> SeenPullRequest:
        """Says something else."""

    async def close(self, number: int) -> SeenPullRequest:
        """Without merging it; one that has ended stays as it is."""


# -- answers -----------------------------------------------------------------------------------------------


def unexpected() -> RemoteRefused:
    return RemoteRefused("busy", "The forge has answered something else.", passes=True)


@contextmanager
def expected() -> Iterator[None]:
    """Around what reads an answer."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise unexpected() from error


def is_own(body: Any) -> bool:
    """Whether its branch is in the repository that it is for: forks have branches of the same names."""
    with expected():
        head, base = body["head"].get("repo"), body["base"]["repo"]
        return bool(head) and head["full_name"] == base["full_name"]


def seen_pull_request(body: Any, head: str, state: PullRequestState, title: str) -> SeenPullRequest:
    """With what forges say differently as it was read; raises as `expected` is there for."""
    return SeenPullRequest(
        number=_number(body["number"]),
        url=_web_address(body["html_url"]),
        state=state,
        head=_plain(head, 500),
        head_commit=_plain(body["head"]["sha"], 64),
        base=_plain(body["base"]["ref"], 500),
        title=_plain(title, 500),
        body=_plain(body.get("body"), 100_000),
    )


def seen_repository(body: Any) -> SeenRepository:
    with expected():
        branch = body.get("default_branch")
        return SeenRepository(
            name=_plain(body["full_name"], 500),
            url=_web_address(body["clone_url"]),
            default_branch=_plain(branch, 500) if branch else None,
            private=bool(body.get("private")),
        )


def _plain(text: object, longest: int) -> str:
    """As it may be kept: a database takes no NUL, and nobody takes half a character."""
    return str(text or "").replace("\0", "").encode("utf-8", "replace").decode()[:longest]


def _number(value: Any) -> int:
    found = int(value)
    if not 0 < found < 2**53:
        raise ValueError("that is no number of a pull request")
    return found


def _web_address(text: object) -> str:
    """What may be shown as a link."""
    found = _plain(text, 2000)
    return found if found.startswith(("https://", "http://")) else ""
