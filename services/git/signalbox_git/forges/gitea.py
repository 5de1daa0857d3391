"""Gitea and Forgejo, by their API."""

from typing import Any
from urllib.parse import quote

from signalbox_common.contracts.git import PullRequestState
from signalbox_git.domain import PULL_REQUEST_ENDED
from signalbox_git.forges.base import (
    PullRequestText,
    SeenPullRequest,
    SeenRepository,
    expected,
    is_own,
    seen_pull_request,
)
from signalbox_git.forges.client import CONFLICT, ForgeClient
from signalbox_git.remotes.access import Reach
from signalbox_git.remotes.credentials import Credential

DRAFT = "WIP: "
"""What the title of a draft begins with: there is no other sign of one."""
_PAGE = ("limit", 50)
_MOST = 1000
_OF_PULLS = "refs/pull/"


def _client(base: str, credential: Credential | None, reach: Reach) -> ForgeClient:
    headers = {"Accept": "application/json", "User-Agent": "signalbox"}
    if credential is not None and credential.token is not None:
        headers["Authorization"] = f"token {credential.token}"
    return ForgeClient(base, credential, reach, headers)


class Gitea:
    def __init__(
        self, owner: str, name: str, credential: Credential | None, reach: Reach, *, base: str
    ) -> None:
        self._client = _client(base, credential, reach)
        self._path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"

    async def find(self, head: str, base: str) -> list[SeenPullRequest]:
        return [each for each in await self._all(base_branch=base) if (each.head, each.base) == (head, base)]

    async def of_commit(self, commit: str) -> list[SeenPullRequest]:
        return [each for each in await self._all() if each.head_commit == commit]

    async def _all(self, **query: Any) -> list[SeenPullRequest]:
        """The newest: one that comes while pages are read moves others to the next, and is told once."""
        listed = await self._client.every(
            f"{self._path}/pulls", most=_MOST, per_page=_PAGE, query={"state": "all", **query}
        )
        seen = {found.number: found for found in map(_seen, filter(is_own, listed))}
        return sorted(seen.values(), key=lambda each: -each.number)

    async def get(self, number: int) -> SeenPullRequest:
        return _seen((await self._client.ask("GET", f"{self._path}/pulls/{number}")).body)

    async def open(self, head: str, base: str, text: PullRequestText) -> SeenPullRequest:
        body = {"title": _title(text), "body": text.body, "head": head, "base": base}
        answer = await self._client.ask("POST", f"{self._path}/pulls", body, known=(CONFLICT,))
        if answer.status == CONFLICT:
            for each in await self.find(head, base):
                if each.state not in PULL_REQUEST_ENDED:
                    return each
            raise self._client.refused(answer)
        made = _seen(answer.body)
        await self._name(made.number, text)
        return made

    async def update(self, number: int, text: PullRequestText) -> SeenPullRequest:
        found = await self._change(number, {"title": _title(text), "body": text.body})
        await self._name(number, text)
        return found

    async def close(self, number: int) -> SeenPullRequest:
        now = await self.get(number)
        return now if now.state in PULL_REQUEST_ENDED else await self._change(number, {"state": "closed"})

    async def _change(self, number: int, body: Any) -> SeenPullRequest:
        return _seen((await self._client.ask("PATCH", f"{self._path}/pulls/{number}", body)).body)

    async def _name(self, number: int, text: PullRequestText) -> None:
        await self._client.name(f"{self._path}/issues/{number}", f"{self._path}/pulls/{number}", text)


async def visible(
    credential: Credential | None, reach: Reach, *, base: str, limit: int
) -> list[SeenRepository]:
    """What is shown to whoever has this credential; raises RemoteRefused."""
    return await _client(base, credential, reach).visible(most=limit, per_page=_PAGE, query={})


def _title(text: PullRequestText) -> str:
    return f"{DRAFT}{text.title}" if text.draft and not text.title.startswith(DRAFT) else text.title


def _seen(body: Any) -> SeenPullRequest:
    with expected():
        title = str(body["title"])
        state = PullRequestState.CLOSED if body["state"] == "closed" else PullRequestState.OPEN
        if state is PullRequestState.OPEN and (body.get("draft") or title.startswith(DRAFT)):
            state = PullRequestState.DRAFT
        if body.get("merged"):
            state = PullRequestState.MERGED
        head = body["head"]
        ref = str(head["ref"])
        name = str(head["label"]) if ref.startswith(_OF_PULLS) else ref  # where the branch is gone
        return seen_pull_request(body, name, state, title.removeprefix(DRAFT))
