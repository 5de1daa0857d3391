"""The service's side of its conversation with the keepers of its node."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signalbox_sandbox.keeper import wire
from signalbox_sandbox.keeper.role import ENDED, KEEPER_SOCKET, LABEL, SOCKET
from signalbox_sandbox.keeper.wire import Frame, FrameReader, Kind

_PATIENCE = 10.0
_READ = 256 * 1024


class KeeperRefused(Exception):
    """What a keeper does not do, with its code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class KeeperGone(Exception):
    """Nobody keeps this sandbox any more."""


@dataclass(frozen=True)
class Label:
    """What stands at a sandbox on its node, whoever remembers it elsewhere."""

    id: str
    epoch: int
    ended: str | None
    """Why, if its keeper has said so."""


class KeeperClient:
    """One sandbox."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def ask(self, do: str, **request: Any) -> dict[str, Any]:
        async with _Line.to(self._folder, KEEPER_SOCKET) as line:
            return await line.ask({"do": do, **request})

    async def start(self, key: str, argv: list[str], **more: Any) -> dict[str, Any]:
        """Starts it, or answers with the one of that key."""
        return await self.ask("start", key=key, asked={"argv": argv, **more})

    async def output(self, key: str, offset: int = 0, *, follow: bool = True) -> AsyncGenerator[Frame, None]:
        """To the end of the process, or without `follow` as far as it has come."""
        async with _Line.to(self._folder, KEEPER_SOCKET) as line:
            await line.ask({"do": "output", "key": key, "from": offset, "follow": follow})
            async for frame in line.frames():
                yield frame
                if frame.kind is Kind.END:
                    return
            if follow:
                raise KeeperGone("it ended in the middle of what a process says")

    async def write(self, key: str, offset: int, data: bytes, *, close: bool = False) -> int:
        """How many bytes of its input the process has then."""
        request = {"do": "input", "key": key, "offset": offset, "size": len(data), "close": close}
        async with _Line.to(self._folder, KEEPER_SOCKET) as line:
            return int((await line.ask(request, data))["taken"])


class Keepers:
    """All of one node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def keep(
        self,
        identifier: str,
        *,
        epoch: int,
        lifetime: float,
        lower: Path | None = None,
        limits: Mapping[str, int | None] | None = None,
    ) -> KeeperClient:
        """A new sandbox; returns when it takes orders."""
        request: dict[str, Any] = {"id": identifier, "epoch": epoch, "lifetime": lifetime}
        request["limits"] = dict(limits or {})
        if lower is not None:
            request["lower"] = str(lower)
        async with _Line.to(self._folder, SOCKET) as line:
            await line.ask(request)
        return self.of(identifier)

    def of(self, identifier: str) -> KeeperClient:
        return KeeperClient(self._folder / identifier)

    def labels(self) -> list[Label]:
        """Of every sandbox that has a folder here."""
        found = []
        for path in self._folder.glob(f"[!.]*/{LABEL}"):
            label = json.loads(path.read_text(encoding="utf-8") or "null")
            if label is None:
                continue  # its keeper has only just begun
            ended = path.with_name(ENDED)
            why = json.loads(ended.read_text(encoding="utf-8"))["reason"] if ended.exists() else None
            found.append(Label(label["id"], label["epoch"], why))
        return found


class _Line:
    """A connection to a keeper, or to the role."""

    def __init__(self, connection: socket.socket, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._rest = b""
        self._loop = asyncio.get_running_loop()

    @staticmethod
    @asynccontextmanager
    async def to(folder: Path, name: str) -> "AsyncIterator[_Line]":
        """By a path that is short, however long the one of the folder is."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(0)
            line = _Line(connection, folder)
            try:
                at = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    await line._loop.sock_connect(connection, f"/proc/self/fd/{at}/{name}")
                finally:
                    os.close(at)
            except OSError as error:
                raise KeeperGone(str(folder)) from error
            yield line

    async def ask(self, request: dict[str, Any], data: bytes = b"") -> dict[str, Any]:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._loop.sock_sendall(self._connection, wire.encode(request) + data)
                while b"\n" not in self._rest:
                    more = await self._receive()
                    if not more:
                        raise KeeperGone("it ended in the middle of an answer")
                    self._rest += more
        except TimeoutError as error:
            raise KeeperRefused("no_answer", "Its keeper does not answer, or not yet.") from error
        except OSError as error:
            raise KeeperGone(str(self._folder)) from error
        said, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(said)
        if "error" in answer:
            raise KeeperRefused(answer["error"], answer["detail"])
        return answer

    async def frames(self) -> AsyncGenerator[Frame, None]:
        reader, data = FrameReader(), self._rest
        while True:
            for frame in reader.feed(data):
                yield frame
            data = await self._receive()
            if not data:
                return

    async def _receive(self) -> bytes:
        """Nothing where the other side has ended."""
        try:
            return await self._loop.sock_recv(self._connection, _READ)
        except ConnectionError:
            return b""
