"""Somebody who has operations done, by the gateway."""

import secrets
import threading
from dataclasses import dataclass
from typing import Any, Self

from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.git_person import Place
from tests.support.remotes import HttpRemote, add_commit
from tests.support.repositories import GitScene

LARGE = 200_000
"""Bytes of an answer that is handed out in two halves."""
ENDED = ("succeeded", "failed", "cancelled")


def refs_of(place: Place) -> dict[str, str]:
    """Of the remote itself."""
    said = git(place.remote, "for-each-ref", "--format=%(objectname) %(refname)")
    return {name: value for value, name in (line.split(" ", 1) for line in said.splitlines())}


@dataclass
class OperationPerson:
    scene: GitScene

    @property
    def headers(self) -> dict[str, str]:
        return self.scene.headers

    async def begin(
        self,
        place: Place,
        *,
        http_status: int = 201,
        headers: dict[str, str] | None = None,
        **action: Any,
    ) -> Any:
        path = f"/{place.repository}/operations"
        more = {"headers": headers} if headers is not None else {}
        return await self.scene.ask("POST", path, status=http_status, json=action, **more)

    async def look(self, operation: dict[str, Any]) -> Any:
        return await self.scene.ask("GET", f"/{operation['repositoryId']}/operations/{operation['id']}")

    async def cancel(self, operation: dict[str, Any], *, status: int = 200) -> Any:
        path = f"/{operation['repositoryId']}/operations/{operation['id']}/cancel"
        return await self.scene.ask("POST", path, status=status)

    async def ended(self, operation: dict[str, Any], *, within: float = 60.0) -> Any:
        async def so() -> Any:
            found = await self.look(operation)
            return found if found["status"] in ENDED else None

        return await eventually(so, within=within, what="the operation has ended")

    async def done(self, place: Place, **action: Any) -> Any:
        found = await self.ended(await self.begin(place, **action))
        assert found["status"] == "succeeded", found
        return found

    async def failed(self, place: Place, code: str, **action: Any) -> Any:
        found = await self.ended(await self.begin(place, **action))
        assert (found["status"], (found["error"] or {}).get("code")) == ("failed", code), found
        return found

    async def listed(self, place: Place, **params: Any) -> list[Any]:
        found = await self.scene.ask("GET", f"/{place.repository}/operations", params=params)
        return list(found["items"])

    async def told(self, operation: dict[str, Any], what: str = "changed") -> list[Any]:
        facts = await self.scene.facts(f"operation.{what}")
        return [each for each in facts if each["operation"] == operation["id"]]


class SlowRemote:
    """Hands out the first half of what is large, and the rest when it is told to."""

    def __init__(self, remote: HttpRemote, method: str = "git-upload-pack") -> None:
        self._remote, self._method = remote, method
        self._goes_on = threading.Event()
        self.waiting = threading.Event()
        """Somebody has the first half."""

    def __enter__(self) -> Self:
        self._remote.afterwards.append(self._behave)
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self._remote.afterwards.remove(self._behave)

    def go_on(self) -> None:
        self._goes_on.set()

    def _behave(self, handler: Any) -> bool:
        if handler.command == "POST" and self._method in handler.path:
            handler.wfile = _Halves(handler.wfile, self._goes_on, self.waiting)
        return False


class _Halves:
    def __init__(self, target: Any, goes_on: threading.Event, waiting: threading.Event) -> None:
        self._target, self._goes_on, self._waiting = target, goes_on, waiting

    def write(self, content: bytes) -> int:
        if len(content) < LARGE:
            return int(self._target.write(content))
        half = len(content) // 2
        self._target.write(content[:half])
        self._target.flush()
        self._waiting.set()
        self._goes_on.wait(60)
        return half + int(self._target.write(content[half:]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


class StuckRemote:
    """Does what it was asked for, or not, and answers only when it is told to."""

    def __init__(self, remote: HttpRemote, method: str, what: str, *, does_it: bool) -> None:
        self._hooks = remote.afterwards if does_it else remote.behaviours
        self._method, self._what = method, what
        self._goes_on = threading.Event()
        self.waiting = threading.Event()

    def __enter__(self) -> Self:
        self._hooks.append(self._behave)
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self._hooks.remove(self._behave)

    def go_on(self) -> None:
        self._goes_on.set()

    def _behave(self, handler: Any) -> bool:
        if handler.command == self._method and self._what in handler.path:
            self.waiting.set()
            self._goes_on.wait(60)
        return False


def large_commit(place: Place, *, files: int = 120, branch: str = "main") -> str:
    """Of files that nothing makes smaller."""
    content = {f"files/{number}.txt": secrets.token_hex(8000) for number in range(files)}
    return add_commit(place.remote, content, branch=branch)
