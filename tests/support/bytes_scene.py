"""A lab service on the data plane, and people who may ask it for bytes."""

import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from signalbox_common.bus import Bus
from signalbox_common.contracts import auth
from signalbox_common.dataplane import DataClient, DataServer
from signalbox_common.principal import GrantVerifier
from signalbox_common.space import DiskSpace
from tests.support.bytes_lab import CHUNK, BytesLab
from tests.support.installation import Http, Installation


@dataclass
class Scene:
    """A lab service on the data plane, and somebody with a project."""

    lab: BytesLab
    server: DataServer
    socket: str
    http: Http
    gateway: Bus
    tasks: Bus
    owner: dict[str, str]
    project: str

    def folder(self) -> Path:
        folder = self.lab.folder / self.project
        folder.mkdir(exist_ok=True)
        return folder

    async def grant(
        self, who: dict[str, str] | None = None, audience: str = "tasks", project: str | None = None
    ) -> str:
        token = SecretStr((who or self.owner)["Authorization"].removeprefix("Bearer "))
        asked = auth.GetGrant(token=token, audience=audience, project=uuid.UUID(project or self.project))
        return (await self.gateway.query(asked)).value().grant

    def client(self, grant: str, address: str | None = None, fence: int | None = None) -> DataClient:
        async def same() -> str:
            return grant

        return DataClient(address or self.socket, same, fence=fence)


def server_of(lab: BytesLab, tasks: Bus) -> DataServer:
    grants = GrantVerifier(tasks.keys, tasks.revoked, "tasks")
    server = DataServer("tasks", grants, tasks.revoked, DiskSpace(lab.folder, 0.0))
    lab.register(server)
    return server


@asynccontextmanager
async def scene_of(installation: Installation, tmp_path: Path) -> AsyncIterator[Scene]:
    async with (
        installation.running_auth(),
        installation.gateway() as http,
        installation.bus() as gateway,
        installation.bus("tasks") as tasks,
    ):
        lab = BytesLab(tmp_path / "files")
        lab.folder.mkdir()
        server = server_of(lab, tasks)
        socket = f"unix:{tmp_path / 'run' / 'tasks.sock'}"
        await server.start(socket)
        owner = await http.sign_up()
        try:
            yield Scene(lab, server, socket, http, gateway, tasks, owner, await http.project(owner))
        finally:
            await server.stop()


def some_bytes(size: int) -> bytes:
    """The same for the same size."""
    return random.Random(size).randbytes(size)


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(content), CHUNK):
        yield content[begin : begin + CHUNK]
