"""A disk that is nearly full: what needs space is refused, and all else goes on."""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts import auth
from signalbox_common.contracts.health import Health
from signalbox_common.dataplane import DataClient
from signalbox_common.errors import SignalboxError
from signalbox_gateway.clients import OPERATION_HEADER
from tests.support import full_disk, lab_routes
from tests.support.bytes_lab import PUT, READ
from tests.support.bytes_scene import pieces
from tests.support.installation import Http, Installation
from tests.support.lab import Build
from tests.support.processes import Running
from tests.support.services import process

pytestmark = pytest.mark.fresh  # its services are its own

MIB = 1024 * 1024


@dataclass
class Small:
    """A service with a small disk, and somebody who fills it."""

    service: Running
    folder: Path
    http: Http
    bus: Bus
    headers: dict[str, str]
    project: str

    @property
    def disk(self) -> Path:
        """As the service sees it."""
        return Path(f"/proc/{self.service.pid}/root{self.folder / 'disk'}")

    @property
    def free(self) -> float:
        found = os.statvfs(self.disk)
        return found.f_bavail / found.f_blocks

    async def put(self, content: bytes) -> bytes:
        token = SecretStr(self.headers["Authorization"].removeprefix("Bearer "))

        async def grant() -> str:
            asked = auth.GetGrant(token=token, audience="tasks", project=uuid.UUID(self.project))
            return (await self.bus.query(asked)).value().grant

        name = hashlib.sha256(content).hexdigest()
        async with DataClient(f"unix:{self.folder / 'data.sock'}", grant) as client:
            await client.write(PUT, lambda: pieces(content), sha256=name)
            return b"".join([chunk async for chunk in client.read(READ, name=name)])

    async def fill(self) -> int:
        """How many MiB were taken before there was not enough space left."""
        for kept in range(full_disk.SIZE // MIB):
            content = os.urandom(MIB)
            try:
                assert await self.put(content) == content
            except SignalboxError as error:
                if error.code != "disk_full":
                    raise
                return kept
        raise AssertionError("the disk was filled")


@pytest.fixture
async def small(installation: Installation, tmp_path: Path) -> AsyncIterator[Small]:
    (tmp_path / "disk").mkdir()
    argv = ["-m", full_disk.__name__, str(tmp_path)]
    service = process(installation, "tasks", tmp_path / "tasks.log", argv)
    async with (
        installation.running_auth(),
        installation.gateway(lab_routes.routes) as http,
        installation.bus() as bus,
    ):
        await service.start()
        try:
            headers = await http.sign_up()
            yield Small(service, tmp_path, http, bus, headers, await http.project(headers))
        finally:
            service.kill()


async def test_what_needs_space_is_refused_and_the_rest_goes_on(small: Small) -> None:
    path = f"/api/v1/lab/{small.project}"
    key = {"Idempotency-Key": "the house"}
    with pytest.raises(SignalboxError) as too_much:
        await small.put(os.urandom(full_disk.SIZE - MIB))
    assert (too_much.value.status, too_much.value.code) == (507, "disk_full")
    assert small.free > 0.03, "it was cut before it had filled the disk"
    for draft in (small.disk / "files" / small.project).iterdir():
        draft.unlink()
    kept = await small.fill()
    assert 50 <= kept <= 62
    assert 0.02 < small.free < 0.05
    order = await small.http.post(f"{path}/orders", json={"name": "house"}, headers=small.headers | key)
    assert (order.status_code, order.json()["code"]) == (507, "disk_full")
    assert order.headers["retry-after"]
    built = await small.bus.send(Build(name="shed"), Envelope(uuid.uuid4(), "digest"))
    assert built is not None, "it needs none"
    assert built.value().id == "shed"
    health = (await small.bus.query(Health(), service="tasks")).value()
    assert health.status == "ok"
    assert health.degraded["disk"].endswith("of the disk are free")
    for file in (small.disk / "files" / small.project).iterdir():
        file.unlink()
    again = await small.http.post(f"{path}/orders", json={"name": "house"}, headers=small.headers | key)
    assert again.status_code == 200, again.text
    assert again.json()["id"] == "house"
    operation = again.headers[OPERATION_HEADER]
    found = await small.http.get(f"/api/v1/operations/{operation}", headers=small.headers)
    assert found.json()["status"] == "succeeded"
    assert (await small.put(b"there is room")) == b"there is room"
