"""Gitea and Forgejo, by their API."""

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
from signalbox_git.forges.client import ForgeClient
from signalbox_git.remotes.access import Reach
from signalbox_git.remotes.credentials import Credential

DRAFT = "WIP: "
"""What the title of a draft begins with: there is no other sign of one."""
_PAGE, _PAGES = 50, 20
_OF_PULLS = "refs/pull/"
_NOT_FOUND, _CONFLICT, _UNPROCESSABLE = 404, 409, 422


def headers_of(credential: Credential | None) -> dict[str, str]:
    found = {"Accept": "application/json", "User-Agent": "signalbox"}
    if credential is not None and credential.token is not None:
        found["Authorization"] = f"token {credential.token}"
    return found


class Gitea:
    def __init__(
        self, owner: str, name: str, credential: Credential | None, reach: Reach, *, base: str
    ) -> None:
        self._client = ForgeClient(base, credential, reach, headers_of(credential))
        self._path = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"

    async def find(self, head: str, base: str) -> list[SeenPullRequest]:
        return [each for each in await self._all() if (each.head, each.base) == (head, base)]

    async def of_commit(self, commit: str) -> list[SeenPullRequest]:
        return [each for each in await self._all() if each.head_commit == commit]

    async def _all(self) -> list[SeenPullRequest]:
        """The newest, as many as there may be: it lists them by nothing that we ask about."""
        found: list[SeenPullRequest] = []
        for page in range(1, _PAGES + 1):
            answer = await self._client.ask(
                "GET", f"{self._path}/pulls", state="all", sort="recentupdate", limit=_PAGE, page=page
            )
            items = answer.body if isinstance(answer.body, list) else []
            found += [_seen(each) for each in items if is_own(each)]
            if len(items) < _PAGE:
                break
        return sorted(found, key=lambda each: -each.number)

    async def get(self, number: int) -> SeenPullRequest:
        return _seen((await self._client.ask("GET", f"{self._path}/pulls/{number}")).body)

    async def open(self, head: str, base: str, text: PullRequestText) -> SeenPullRequest:
        body: dict[str, Any] = {"title": _title(text), "body": text.body, "head": head, "base": base}
        answer = await self._client.ask("POST", f"{self._path}/pulls", body, known=(_CONFLICT,))
        if answer.status == _CONFLICT:  # it is there, and open
            return await self._found_open(head, base)
        made = _seen(answer.body)
        await self._label(made.number, text)
        await self._ask_reviewers(made.number, text)
        return made

    async def _found_open(self, head: str, base: str) -> SeenPullRequest:
        for each in await self.find(head, base):
            if each.state in (PullRequestState.OPEN, PullRequestState.DRAFT):
                return each
        raise ForgeRefused("refused", "The forge says that there is such a pull request, and shows none.")

    async def update(self, number: int, text: PullRequestText) -> SeenPullRequest:
        body: dict[str, Any] = {"title": _title(text), "body": text.body}
        found = _seen((await self._client.ask("PATCH", f"{self._path}/pulls/{number}", body)).body)
        await self._label(number, text)
        await self._ask_reviewers(number, text)
        return found

    async def close(self, number: int) -> SeenPullRequest:
        now = await self.get(number)
        if now.state in (PullRequestState.MERGED, PullRequestState.CLOSED):
            return now
        return _seen(
            (await self._client.ask("PATCH", f"{self._path}/pulls/{number}", {"state": "closed"})).body
        )

    async def _label(self, number: int, text: PullRequestText) -> None:
        """Beside those that it has; names that nobody knows there are left out."""
        if text.labels:
            path = f"{self._path}/issues/{number}/labels"
            known = (403, _NOT_FOUND, _UNPROCESSABLE)
            await self._client.ask("POST", path, {"labels": list(text.labels)}, known=known)

    async def _ask_reviewers(self, number: int, text: PullRequestText) -> None:
        """Whom nobody knows there, or who may not review it, is left out."""
        if text.reviewers:
            path = f"{self._path}/pulls/{number}/requested_reviewers"
            known = (_NOT_FOUND, _UNPROCESSABLE)
            await self._client.ask("POST", path, {"reviewers": list(text.reviewers)}, known=known)


def _title(text: PullRequestText) -> str:
    return f"{DRAFT}{text.title}" if text.draft and not text.title.startswith(DRAFT) else text.title


def _seen(body: Any) -> SeenPullRequest:
    try:
        state = PullRequestState.CLOSED if body["state"] == "closed" else PullRequestState.OPEN
        if state is PullRequestState.OPEN and (body.get("draft") or str(body["title"]).startswith(DRAFT)):
            state = PullRequestState.DRAFT
        return SeenPullRequest(
            number=number_of(body["number"]),
            url=web_address(body["html_url"]),
            state=PullRequestState.MERGED if body.get("merged") else state,
            head=_branch_of(body["head"]),
            head_commit=plain(body["head"]["sha"], 64),
            base=str(body["base"]["ref"]),
            title=plain(body["title"], 500).removeprefix(DRAFT),
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
        answer = await client.ask("GET", "/user/repos", limit=_PAGE, page=page)
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


def _branch_of(head: Any) -> str:
    """Where the branch is gone, its name is but a label."""
    ref = str(head["ref"])
    return str(head["label"]) if ref.startswith(_OF_PULLS) else ref
