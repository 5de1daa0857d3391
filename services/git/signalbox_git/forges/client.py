"""Asks a forge over HTTP, with its token, and says in our words what it answers."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from signalbox_git.forges.base import PullRequestText, SeenRepository, seen_repository, unexpected
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential, scrubbed
from signalbox_git.remotes.requests import Target, answered, content_of

LARGEST = 8 * 1024 * 1024
_PATIENCE = httpx.Timeout(30.0, connect=10.0)
_WITHIN = 90.0
"""Seconds for all of one answer, however slowly it comes."""
_LONGEST_WAIT = 3600.0
_UNSAID_WAIT = 60.0
"""What GitHub wants where it says nothing of how long."""
_GOOD, _BAD, _OWN_FAULTS = 300, 400, 500
_UNAUTHORIZED, _FORBIDDEN, NOT_FOUND, _TIMED_OUT, CONFLICT, UNPROCESSABLE, _TOO_MANY = (
    *(401, 403, 404, 408, 409),
    *(422, 429),
)
_NOT_TAKEN = (_FORBIDDEN, NOT_FOUND, UNPROCESSABLE)
"""Whom nobody knows there, or who may not: the work is there all the same."""


PageSize = tuple[str, int]
"""What the number of items on a page is called there, and how many are asked for."""


@dataclass(frozen=True)
class Answered:
    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class ForgeClient:
    """Of one forge, below one address; all that it raises is RemoteRefused."""

    def __init__(
        self, base: str, credential: Credential | None, reach: Reach, headers: Mapping[str, str]
    ) -> None:
        self._base = base.rstrip("/")
        self._credential = credential
        self._reach = reach
        self._headers = dict(headers)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        known: tuple[int, ...] = (),
        query: Mapping[str, Any] | None = None,
    ) -> Answered:
        """What it answers; statuses that are not good and not known are raised."""
        asked = f"?{httpx.QueryParams(query)}" if query else ""
        target = Target.read(f"{self._base}{path}{asked}")
        try:
            async with (
                asyncio.timeout(_WITHIN),
                answered(
                    method,
                    target,
                    self._reach,
                    credential=self._credential,
                    headers=self._headers,
                    patience=_PATIENCE,
                    body=body,
                ) as response,
            ):
                read = _json(await content_of(response, LARGEST))
                found = Answered(response.status_code, read, response.headers)
        except TimeoutError:
            raise RemoteRefused("timeout", f"{target.place.host} takes too long.", passes=True) from None
        if found.status >= _GOOD and found.status not in known:
            raise self.refused(found)
        return found

    async def every(self, path: str, *, most: int, per_page: PageSize, query: Mapping[str, Any]) -> list[Any]:
        """Page after page, until there is no more, or that is enough; a server may give fewer than asked."""
        name, size = per_page
        found: list[Any] = []
        for page in range(1, -(-most // size) + 1):
            answer = await self.ask("GET", path, query={**query, name: size, "page": page})
            if not isinstance(answer.body, list):
                raise unexpected()
            found += answer.body
            total = answer.headers.get("x-total-count", "")
            is_all = len(found) >= int(total) if total.isdecimal() else len(answer.body) < size
            if is_all or not answer.body or len(found) >= most:
                break
        return found[:most]

    async def visible(
        self, *, most: int, per_page: PageSize, query: Mapping[str, Any]
    ) -> list[SeenRepository]:
        """What is shown to whoever has this credential."""
        listed = await self.every("/user/repos", most=most, per_page=per_page, query=query)
        return [seen_repository(each) for each in listed]

    async def name(self, issues: str, pulls: str, text: PullRequestText) -> None:
        """Labels beside those that it has, and who is to look at it; whom nobody knows is left out."""
        if text.labels:
            await self._taken(f"{issues}/labels", {"labels": list(text.labels)})
        if text.reviewers and not await self._reviewed(pulls, text.reviewers) and len(text.reviewers) > 1:
            for each in text.reviewers:  # one that is not known costs all of them
                await self._reviewed(pulls, (each,))

    async def _reviewed(self, pulls: str, people: Sequence[str]) -> bool:
        return await self._taken(f"{pulls}/requested_reviewers", {"reviewers": list(people)})

    async def _taken(self, path: str, body: Any) -> bool:
        answer = await self.ask("POST", path, body, known=_NOT_TAKEN)
        if answer.status < _GOOD:
            return True
        refusal = self.refused(answer)
        if refusal.passes:  # its limit is spent: that says nothing of whom it knows
            raise refusal
        return False

    def refused(self, found: Answered) -> RemoteRefused:
        """What it means that this was answered; whatever it repeats, not what it was shown."""
        return _refused(found, scrubbed(_said(found.body), self._credential))


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None


def _refused(found: Answered, said: str) -> RemoteRefused:
    detail = f"The forge says: {said[:200]}" if said else f"The forge answers {found.status}."
    wait = _wait_of(found)
    if found.status < _BAD:
        return RemoteRefused("redirected", "The forge has moved to another address.")
    if found.status == _FORBIDDEN and wait is None and "rate limit" in detail.lower():
        wait = _UNSAID_WAIT
    if found.status == _TOO_MANY or (found.status == _FORBIDDEN and wait is not None):
        return RemoteRefused("rate_limited", detail, passes=True, retry_after=wait)
    if found.status in (_UNAUTHORIZED, _FORBIDDEN):
        return RemoteRefused("unauthorized", detail)
    if found.status == NOT_FOUND:
        return RemoteRefused("not_found", detail)
    if found.status < _OWN_FAULTS and found.status != _TIMED_OUT:
        return RemoteRefused("refused", detail)
    return RemoteRefused("busy", detail, passes=True, retry_after=wait)


def _said(body: Any) -> str:
    """What it complains of, in its own words."""
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors")
    listed = [each for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    words = (body.get("message"), *(each.get("message") for each in listed))
    text = " ".join(str(each) for each in words if each)
    return "".join(each for each in text if each.isprintable())


def _wait_of(found: Answered) -> float | None:
    """Seconds that it wants to be left alone: said itself, or by its limit being spent."""
    said = found.headers.get("retry-after", "")
    if said.isdecimal():
        return min(float(said), _LONGEST_WAIT)
    if said:
        with suppress(ValueError, OverflowError):
            return min(max(parsedate_to_datetime(said).timestamp() - time.time(), 1.0), _LONGEST_WAIT)
    reset = found.headers.get("x-ratelimit-reset", "")
    if found.headers.get("x-ratelimit-remaining") == "0" and reset.isdecimal():
        return min(max(float(reset) - time.time(), 1.0), _LONGEST_WAIT)
    return None
