"""Somebody who has operations done, by the gateway."""

from dataclasses import dataclass
from typing import Any

from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.git_person import Place
from tests.support.repositories import GitScene

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
