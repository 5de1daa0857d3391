"""Fetches what LFS keeps, over its batch API: at addresses that were looked at, and checked as it comes."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from pydantic import BaseModel, ValidationError

from signalbox_common import remote_urls
from signalbox_common.remote_urls import RemoteUrl, Scheme
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import DEFAULT_USER, Credential
from signalbox_git.remotes.requests import PORTS, Target, answered, content_of

WITHIN = 1800.0
_AT_ONCE, _IN_A_BATCH = 4, 100
_LARGEST_ANSWER = 8 * 1024 * 1024
_LONGEST_WORD = 8 * 1024
_MOST_HEADERS = 32
_PATIENCE = httpx.Timeout(60.0, connect=15.0)
_JSON = "application/vnd.git-lfs+json"
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = {"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "te", "upgrade"}
"""Headers that no answer decides on."""
_GOOD, _REDIRECTS, _BAD = 200, 300, 400
_TRIED_AGAIN = (408, 429)


class _Action(BaseModel):
    href: str
    header: dict[str, str] = {}


class _Actions(BaseModel):
    download: _Action | None = None


class _Trouble(BaseModel):
    code: int


class _Object(BaseModel):
    oid: str
    actions: _Actions | None = None
    error: _Trouble | None = None


class _Answer(BaseModel):
    transfer: str = "basic"
    objects: list[_Object]


class LfsClient:
    """Of one repository; all that it raises is RemoteRefused."""

    def __init__(
        self, url: str, credential: Credential | None, reach: Reach, *, within: float = WITHIN
    ) -> None:
        self._url = url
        self._credential = credential
        self._reach = reach
        self._within = within

    async def fetch(self, wanted: Mapping[str, int], folder: Path) -> None:
        """Objects with their sizes, each into a file of its name."""
        try:
            async with asyncio.timeout(self._within):
                await self._fetch_all(self._endpoint(), wanted, folder)
        except TimeoutError as error:
            raise RemoteRefused("timeout", "Files that LFS keeps take too long.", passes=True) from error

    async def _fetch_all(self, base: Target, wanted: Mapping[str, int], folder: Path) -> None:
        room = asyncio.Semaphore(_AT_ONCE)
        names = sorted(wanted)
        try:
            async with asyncio.TaskGroup() as group:
                for start in range(0, len(names), _IN_A_BATCH):
                    some = {name: wanted[name] for name in names[start : start + _IN_A_BATCH]}
                    for oid, action in (await self._batch(base, some)).items():
                        await room.acquire()
                        task = group.create_task(self._download(base, action, oid, wanted[oid], folder / oid))
                        task.add_done_callback(lambda _: room.release())
        except* RemoteRefused as refusals:
            raise _first(refusals) from None

    def _endpoint(self) -> Target:
        """Where the address of the repository says: over ssh, at the same host over HTTPS."""
        url = remote_urls.parse(self._url)
        if url.scheme is Scheme.LOCAL:
            raise RemoteRefused("no_lfs", "A repository on this machine has no server for files of LFS.")
        if url.scheme is Scheme.SSH:
            url = RemoteUrl(Scheme.HTTPS, url.path, url.host, PORTS[Scheme.HTTPS])
        suffix = "" if url.path.endswith(".git") else ".git"
        return Target.read(f"{url}{suffix}/info/lfs")

    async def _batch(self, base: Target, wanted: Mapping[str, int]) -> dict[str, _Action]:
        """Where each of them is."""
        target = Target(base.url.copy_with(path=f"{base.url.path}/objects/batch"), base.place)
        objects = [{"oid": oid, "size": size} for oid, size in wanted.items()]
        body = {"operation": "download", "transfers": ["basic"], "objects": objects, "hash_algo": "sha256"}
        headers = {"Accept": _JSON, "Content-Type": _JSON}
        async with self._answered("POST", target, headers | self._shown(), body) as response:
            raw = await content_of(response, _LARGEST_ANSWER)
        try:
            answer = _Answer.model_validate_json(raw)
        except ValidationError as error:
            raise _strange() from error
        if answer.transfer != "basic":
            raise _strange()
        found = {each.oid: each for each in answer.objects}
        return {oid: _action(found.get(oid), oid) for oid in wanted}

    async def _download(self, base: Target, action: _Action, oid: str, size: int, path: Path) -> None:
        target, headers = Target.read(action.href), _headers(action)
        if target.place == base.place and "authorization" not in {name.lower() for name in headers}:
            headers |= self._shown()  # nobody but the host of the repository sees its credential
        digest, count = hashlib.sha256(), 0
        async with self._answered("GET", target, headers) as response:
            with path.open("wb") as file:
                async for piece in response.aiter_raw():
                    count += len(piece)
                    if count > size:
                        break
                    digest.update(piece)
                    await asyncio.to_thread(file.write, piece)
        if count != size or digest.hexdigest() != oid:
            raise RemoteRefused("bad_object", f"What the remote has sent is not the file {oid[:12]} of LFS.")

    def _shown(self) -> dict[str, str]:
        if self._credential is None or self._credential.token is None:
            return {}
        user = self._credential.username or DEFAULT_USER
        flow = next(httpx.BasicAuth(user, self._credential.token).auth_flow(httpx.Request("GET", "http://-")))
        return {"Authorization": flow.headers["Authorization"]}

    @asynccontextmanager
    async def _answered(
        self, method: str, target: Target, headers: Mapping[str, str], body: object = None
    ) -> AsyncIterator[httpx.Response]:
        async with answered(
            method,
            target,
            self._reach,
            credential=self._credential,
            headers=headers,
            patience=_PATIENCE,
            body=body,
        ) as response:
            _check(response.status_code)
            yield response


def _action(found: _Object | None, oid: str) -> _Action:
    if found is None or found.error is not None or found.actions is None or found.actions.download is None:
        code = found.error.code if found is not None and found.error is not None else None
        passes = code is not None and (code >= 500 or code in _TRIED_AGAIN)
        detail = f"The remote does not have the file {oid[:12]} of LFS."
        raise RemoteRefused("no_object", detail, passes=passes)
    return found.actions.download


def _headers(action: _Action) -> dict[str, str]:
    if len(action.header) > _MOST_HEADERS:
        raise _strange()
    found = {}
    for name, value in action.header.items():
        if not _HEADER.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise _strange()
        if len(value) > _LONGEST_WORD:
            raise _strange()
        if name.lower() not in _OURS:
            found[name] = value
    return found


def _check(status: int) -> None:
    if _GOOD <= status < _REDIRECTS:
        return
    if status < _BAD:
        raise RemoteRefused("redirected", "The remote redirects to another address for files of LFS.")
    if status in (401, 403):
        raise RemoteRefused("unauthorized", "The credential is not taken for files of LFS.")
    if status >= 500 or status in _TRIED_AGAIN:
        raise RemoteRefused("busy", f"The server of LFS answers {status}.", passes=True)
    raise RemoteRefused("no_lfs", f"The server of LFS answers {status}.")


def _strange() -> RemoteRefused:
    return RemoteRefused("bad_answer", "The server of LFS answers what is not understood.")


def _first(group: BaseExceptionGroup[RemoteRefused]) -> RemoteRefused:
    def leaves(of: BaseExceptionGroup[RemoteRefused]) -> Iterable[RemoteRefused]:
        for each in of.exceptions:
            if isinstance(each, BaseExceptionGroup):
                yield from leaves(each)
            else:
                yield each

    found = list(leaves(group))
    return next((each for each in found if not each.passes), found[0])
