"""Somebody who asks git itself, as the gateway and tasks do."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from signalbox_common.bus import Bus
from signalbox_common.bus.client import Envelope
from signalbox_common.contracts import git as contract
from signalbox_common.contracts.auth import GetGrant
from signalbox_common.contracts.base import Command
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.git import ChangeDelivery, Checkout, CheckoutState
from signalbox_common.dataplane import DataClient
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from tests.support.checkouts import git
from tests.support.forge_simulator import OWNER
from tests.support.repositories import GitScene

ALICE = {"name": "Alice Example", "email": "alice@example.com"}
AGENT = {"name": "Coder", "email": "coder@signalbox.invalid"}


class Place:
    """A repository with its remote, and the commit that it begins with."""

    def __init__(self, scene: GitScene, remote: Path, repository: str) -> None:
        self.scene, self.remote, self.repository = scene, remote, repository
        self.base = git(remote, "rev-parse", "main").strip()

    @staticmethod
    async def make(scene: GitScene, files: dict[str, str] | None = None, **more: Any) -> "Place":
        name = f"{uuid.uuid4().hex[:8]}.git"
        remote = scene.remote.new(name, files)
        return Place(scene, remote, (await scene.add(name, **more))["id"])

    @staticmethod
    async def at_forge(scene: GitScene, files: dict[str, str] | None = None, **more: Any) -> "Place":
        """Where a forge has its pull requests."""
        name = f"{OWNER}/{uuid.uuid4().hex[:8]}.git"
        remote = scene.remote.new(name, files)
        return Place(scene, remote, (await scene.add(name, **{"forge": "github"} | more))["id"])

    def branches(self) -> dict[str, str]:
        said = git(self.remote, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads")
        pairs = (line.split() for line in said.splitlines())
        return {name: commit for name, commit in pairs if name != "main"}

    def show(self, revision: str, form: str) -> str:
        return git(self.remote, "show", "-s", f"--format={form}", revision).strip()


@dataclass
class GitPerson:
    scene: GitScene
    bus: Bus
    headers: dict[str, str] | None = None
    project: str | None = None

    async def grant(self) -> str:
        token = (self.headers or self.scene.headers)["Authorization"].removeprefix("Bearer ")
        where = uuid.UUID(self.project or self.scene.project)
        asked = GetGrant(token=SecretStr(token), audience="git", project=where)
        return (await self.bus.query(asked)).value().grant

    async def _send(self, command: Command[Any]) -> Any:
        answer = await self.bus.send(
            command, Envelope(uuid7(), "digest", grant=await self.grant()), patience=30
        )
        assert answer is not None
        return answer.value()

    # -- checkouts -----------------------------------------------------------------------------------------

    async def prepare(self, repository: str, **more: Any) -> Checkout:
        found: Checkout = await self._send(contract.Prepare(repository=uuid.UUID(repository), **more))
        return found

    async def checkout(self, checkout: uuid.UUID) -> Checkout:
        query = contract.GetCheckout(checkout=checkout)
        return (await self.bus.query(query, grant=await self.grant())).value()

    async def settled(self, checkout: Checkout) -> Checkout:
        async def so() -> Checkout | None:
            found = await self.checkout(checkout.checkout)
            return found if found.state is not CheckoutState.PREPARING else None

        found = await eventually(so, within=60, what="the checkout is prepared")
        assert found is not None
        return found

    async def prepared(self, repository: str, **more: Any) -> Checkout:
        found = await self.settled(await self.prepare(repository, **more))
        assert found.state is CheckoutState.READY, found.error
        return found

    def tree(self, checkout: Checkout) -> Path:
        place = self.scene.folder / "trees" / self.scene.project / "checkouts" / str(checkout.checkout)
        return place.resolve()

    # -- deliveries ----------------------------------------------------------------------------------------

    async def put(
        self, changes: bytes, sha256: str | None = None, route: DataRoute = contract.PUT_CHANGES
    ) -> str:
        digest = sha256 or hashlib.sha256(changes).hexdigest()

        async def body() -> AsyncIterator[bytes]:
            for begin in range(0, len(changes), 64 * 1024):
                yield changes[begin : begin + 64 * 1024]

        where = (await self.bus.query(contract.LocateGit(), grant=await self.grant())).value()
        async with DataClient(where.url, self.grant) as client:
            answer = await client.write(route, body, sha256=digest)
        assert contract.ChangeSetStored.model_validate_json(answer).size == len(changes)
        return digest

    async def deliver(self, repository: str, base: str, changes: bytes | str, **more: Any) -> ChangeDelivery:
        given = {"message": "Change it", "author": ALICE, "co_authors": [AGENT], "branch": "task/1"} | more
        digest = changes if isinstance(changes, str) else await self.put(changes)
        found: ChangeDelivery = await self._send(
            contract.Deliver.model_validate(
                given | {"repository": repository, "base": base, "changes": digest}
            )
        )
        return found

    async def deliver_bundle(self, place: "Place", bundle: bytes, **more: Any) -> ChangeDelivery:
        digest = await self.put(bundle, route=contract.PUT_BUNDLE)
        base = more.pop("base", place.base)
        given = {"message": "Keep them", "author": ALICE, "branch": "task/1", "bundle": digest} | more
        found: ChangeDelivery = await self._send(
            contract.Deliver.model_validate(given | {"repository": place.repository, "base": base})
        )
        return found

    async def bundle_delivered(self, place: "Place", bundle: bytes, **more: Any) -> ChangeDelivery:
        return await self.ended(await self.deliver_bundle(place, bundle, **more))

    async def read(self, route: DataRoute, offset: int = 0, /, **names: str) -> bytes:
        """From the data plane."""
        where = (await self.bus.query(contract.LocateGit(), grant=await self.grant())).value()
        found = bytearray()
        async with DataClient(where.url, self.grant) as client:
            async for piece in client.read(route, offset, **names):
                found += piece
        return bytes(found)

    async def delivery(self, delivery: uuid.UUID) -> ChangeDelivery:
        query = contract.GetDelivery(delivery=delivery)
        return (await self.bus.query(query, grant=await self.grant())).value()

    async def ended(self, delivery: ChangeDelivery, *, within: float = 60.0) -> ChangeDelivery:
        async def so() -> ChangeDelivery | None:
            found = await self.delivery(delivery.delivery)
            return found if found.final else None

        found = await eventually(so, within=within, what="the delivery has ended")
        assert found is not None
        return found

    async def delivered(
        self, repository: str, base: str, changes: bytes | str, **more: Any
    ) -> ChangeDelivery:
        return await self.ended(await self.deliver(repository, base, changes, **more))
