"""GitHub, by its REST API."""

from typing import Any
from urllib.parse import quote

from signalbox_common.contracts.git import PullRequestState
from signalbox_git.forges.base import (
    ForgeRefused,
    PullRequestText,
    SeenPullRequest,
    SeenRepository,
    is_own,
    number_of,
    plain,
    web_address,
)
from signalbox_git.forges.client import Answered, ForgeClient
from signalbox_git.remotes.access import Reach
from signalbox_git.remotes.credentials import Credential

PUBLIC = "https://api.github.com"
_VERSION = "2022-11-28"
_UNPROCESSABLE = 422
_NOT_TAKEN = (403, 404, _UNPROCESSABLE)
_PAGE, _PAGES = 100, 10


def headers_of(credential: Credential | None) -> dict[str, str]:
    found = {
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": _VERSION,
        "User-Agent": "signalbox",
    }
    if credential is not None and credential.token is not None:
        found["Authorization"] = f"Bearer {credential.token}"
    return found


class GitHub:
    def __init__(
        self, owner: str, name: str, credential: Credential | None, reach: Reach, *, base: str = PUBLIC
    ) -> None:
        self._owner = owner
        self._client = ForgeClient(base, credential, reach, headers_of(credential))
        self._path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"

    async def find(self, head: str, base: str) -> list[SeenPullRequest]:
        answer = await self._client.ask(
            "GET", f"{self._path}/pulls", head=f"{self._owner}:{head}", base=base, state="all", per_page=100
        )
        return _seen_all(answer.body)

    async def of_commit(self, commit: str) -> list[SeenPullRequest]:
        answer = await self._client.ask(
            "GET", f"{self._path}/commits/{commit}/pulls", known=(404, _UNPROCESSABLE)
        )
        return _seen_all(answer.body if answer.status < 300 else [])

    async def get(self, number: int) -> SeenPullRequest:
        return _seen((await self._client.ask("GET", f"{self._path}/pulls/{number}")).body)

    async def open(self, head: str, base: str, text: PullRequestText) -> SeenPullRequest:
        body = {"title": text.title, "body": text.body, "head": head, "base": base, "draft": text.draft}
        answer = await self._client.ask("POST", f"{self._path}/pulls", body, known=(_UNPROCESSABLE,))
        if answer.status == _UNPROCESSABLE:
            return await self._found_open(head, base, answer)
        made = _seen(answer.body)
        await self._name(made.number, text)
        return made

    async def _found_open(self, head: str, base: str, answer: Answered) -> SeenPullRequest:
        """It says the same of one that is there as of branches that are not; raises what it says."""
        for each in await self.find(head, base):
            if each.state in (PullRequestState.OPEN, PullRequestState.DRAFT):
                return each
        raise self._client.refused(answer)

    async def update(self, number: int, text: PullRequestText) -> SeenPullRequest:
        body = {"title": text.title, "body": text.body}
        found = _seen((await self._client.ask("PATCH", f"{self._path}/pulls/{number}", body)).body)
        await self._name(number, text)
        return found

    async def close(self, number: int) -> SeenPullRequest:
        now = await self.get(number)
        if now.state in (PullRequestState.MERGED, PullRequestState.CLOSED):
            return now
        return _seen(
            (await self._client.ask("PATCH", f"{self._path}/pulls/{number}", {"state": "closed"})).body
        )

    async def _name(self, number: int, text: PullRequestText) -> None:
        """Whom nobody knows there, or who may not review it, is left out: the work is not lost for that."""
        if text.labels:
            labels = {"labels": list(text.labels)}
            path = f"{self._path}/issues/{number}/labels"
            await self._client.ask("POST", path, labels, known=_NOT_TAKEN)
        if text.reviewers:
            asked = {"reviewers": list(text.reviewers)}
            path = f"{self._path}/pulls/{number}/requested_reviewers"
            await self._client.ask("POST", path, asked, known=_NOT_TAKEN)


def _seen_all(body: Any) -> list[SeenPullRequest]:
    if not isinstance(body, list):
        raise ForgeRefused("busy", "The forge has answered something else.", passes=True)
    return sorted((_seen(each) for each in body if is_own(each)), key=lambda each: -each.number)


def _seen(body: Any) -> SeenPullRequest:
    try:
        merged = bool(body.get("merged") or body.get("merged_at"))
        state = PullRequestState.CLOSED if body["state"] == "closed" else PullRequestState.OPEN
        if state is PullRequestState.OPEN and body.get("draft"):
            state = PullRequestState.DRAFT
        return SeenPullRequest(
            number=number_of(body["number"]),
            url=web_address(body["html_url"]),
            state=PullRequestState.MERGED if merged else state,
            head=str(body["head"]["ref"]),
            head_commit=plain(body["head"]["sha"], 64),
            base=str(body["base"]["ref"]),
            title=plain(body["title"], 500),
            body=plain(body.get("body"), 100_000),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ForgeRefused("busy", "The forge has answered something else.", passes=True) from error


async def visible(
    credential: Credential | None, reach: Reach, *, base: str, limit: int
) -> list[SeenRepository]:
    """What is shown to whoever has this credential; raises ForgeRefused."""
    found: list[SeenRepository] = []
    client = ForgeClient(base, credential, reach, headers_of(credential))
    for page in range(1, _PAGES + 1):
        answer = await client.ask("GET", "/user/repos", sort="updated", per_page=_PAGE, page=page)
        items = answer.body if isinstance(answer.body, list) else []
        found += map(_visible, items)
        if len(items) < _PAGE or len(found) >= limit:
            break
    return found[:limit]


def _visible(body: Any) -> SeenRepository:
    try:
        return SeenRepository(
            name=str(body["full_name"]),
            url=str(body["clone_url"]),
            default_branch=body.get("default_branch"),
            private=bool(body.get("private")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ForgeRefused("busy", "The forge has answered something else.", passes=True) from error
