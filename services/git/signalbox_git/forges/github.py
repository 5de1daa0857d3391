"""GitHub, by its REST API."""

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
    unexpected,
)
from signalbox_git.forges.client import NOT_FOUND, UNPROCESSABLE, Answered, ForgeClient
from signalbox_git.remotes.access import Reach
from signalbox_git.remotes.credentials import Credential

PUBLIC = "https://api.github.com"
_VERSION = "2022-11-28"
_PAGE = ("per_page", 100)


def _client(base: str, credential: Credential | None, reach: Reach) -> ForgeClient:
    headers = {
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": _VERSION,
        "User-Agent": "signalbox",
    }
    if credential is not None and credential.token is not None:
        headers["Authorization"] = f"Bearer {credential.token}"
    return ForgeClient(base, credential, reach, headers)


class GitHub:
    def __init__(
        self, owner: str, name: str, credential: Credential | None, reach: Reach, *, base: str = PUBLIC
    ) -> None:
        self._owner = owner
        self._client = _client(base, credential, reach)
        self._path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"

    async def find(self, head: str, base: str) -> list[SeenPullRequest]:
        query = {"head": f"{self._owner}:{head}", "base": base, "state": "all", "per_page": 100}
        answer = await self._client.ask("GET", f"{self._path}/pulls", query=query)
        return _seen_all(answer.body)

    async def of_commit(self, commit: str) -> list[SeenPullRequest]:
        path = f"{self._path}/commits/{commit}/pulls"
        answer = await self._client.ask("GET", path, known=(NOT_FOUND, UNPROCESSABLE))
        return _seen_all(answer.body) if answer.status not in (NOT_FOUND, UNPROCESSABLE) else []

    async def get(self, number: int) -> SeenPullRequest:
        return _seen((await self._client.ask("GET", f"{self._path}/pulls/{number}")).body)

    async def open(self, head: str, base: str, text: PullRequestText) -> SeenPullRequest:
        body = {"title": text.title, "body": text.body, "head": head, "base": base, "draft": text.draft}
        answer = await self._client.ask("POST", f"{self._path}/pulls", body, known=(UNPROCESSABLE,))
        if answer.status == UNPROCESSABLE:
            return await self._found_open(head, base, answer)
        made = _seen(answer.body)
        await self._name(made.number, text)
        return made

    async def _found_open(self, head: str, base: str, answer: Answered) -> SeenPullRequest:
        """It says the same of one that is there as of branches that are not; raises what it says."""
        for each in await self.find(head, base):
            if each.state not in PULL_REQUEST_ENDED:
                return each
        raise self._client.refused(answer)

    async def update(self, number: int, text: PullRequestText) -> SeenPullRequest:
        """Whether it is a draft stays as it is: REST does not change that."""
        found = await self._change(number, {"title": text.title, "body": text.body})
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
    return await _client(base, credential, reach).visible(
        most=limit, per_page=_PAGE, query={"sort": "updated"}
    )


def _seen_all(body: Any) -> list[SeenPullRequest]:
    if not isinstance(body, list):
        raise unexpected()
    return sorted((_seen(each) for each in body if is_own(each)), key=lambda each: -each.number)


def _seen(body: Any) -> SeenPullRequest:
    with expected():
        state = PullRequestState.CLOSED if body["state"] == "closed" else PullRequestState.OPEN
        if state is PullRequestState.OPEN and body.get("draft"):
            state = PullRequestState.DRAFT
        if body.get("merged") or body.get("merged_at"):
            state = PullRequestState.MERGED
        return seen_pull_request(body, body["head"]["ref"], state, body["title"])
