"""The service's side of its conversation with the keepers of its node."""

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from signalbox_common import background
from signalbox_common.dataplane.frames import Frame, FrameKind, FrameReader
from signalbox_sandbox.keeper import files, libc, upper, wire
from signalbox_sandbox.keeper.role import ENDED, HOLDS, KEEPER_SOCKET, LABEL, SOCKET, is_held
from signalbox_sandbox.keeper.sockets import reached
from signalbox_sandbox.runtime.base import RuntimeRefused, SandboxGone

_PATIENCE = 10.0
_READ = 256 * 1024
_CONNECTED_WITHIN = 5.0
_FILE_PATIENCE = 120.0
"""Seconds for what may be about many files."""


class KeeperRefused(RuntimeRefused):
    """What a keeper does not do, with its code."""


class KeeperGone(SandboxGone):
    """Nobody keeps this sandbox any more."""


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

    @asynccontextmanager
    async def output(
        self, key: str, offset: int = 0, *, follow: bool = True
    ) -> "AsyncIterator[AsyncGenerator[bytes, None]]":
        """Frames as they come, to that of its end, or without `follow` as far as it has come.

        They end without one where the sandbox does.
        """
        async with _Line.to(self._folder, KEEPER_SOCKET) as line:
            await line.ask({"do": "output", "key": key, "from": offset, "follow": follow})
            async with aclosing(line.rest()) as rest:
                yield rest

    async def frames(self, key: str, offset: int = 0, *, follow: bool = True) -> AsyncGenerator[Frame, None]:
        reader = FrameReader()
        async with self.output(key, offset, follow=follow) as output:
            async for data in output:
                for frame in reader.feed(data):
                    yield frame
                    if frame.kind is FrameKind.END:
                        return
        if follow:
            raise KeeperGone("it ended in the middle of what a process says")

    @asynccontextmanager
    async def files(self, fence: int | None = None) -> "AsyncIterator[FileLine]":
        """For one request about files, to who is inside."""
        async with _Line.to(self._folder, KEEPER_SOCKET) as line:
            await line.ask({"do": "files"} | ({"fence": fence} if fence is not None else {}))
            yield FileLine(line)

    @asynccontextmanager
    async def changes(self) -> "AsyncIterator[ChangesLine]":
        async with _Line.to(self._folder, KEEPER_SOCKET) as line:
            await line.ask({"do": "changes"})
            yield ChangesLine(line)

    async def until_gone(self) -> None:
        """Returns when it ends, however it does."""
        try:
            async with _Line.to(self._folder, KEEPER_SOCKET) as line:
                await line.ask({"do": "watch"})
                await line.until_closed()
        except KeeperGone:
            return

    async def connect(self, port: int) -> socket.socket:
        """To what listens inside."""
        async with _Line.to(self._folder, KEEPER_SOCKET) as line:
            connection = await line.ask_for_socket({"do": "connect", "port": port})
        is_connected = False
        try:
            is_connected = await _is_connected(connection)
        finally:
            if not is_connected:  # or whoever asked has left meanwhile
                connection.close()
        if not is_connected:
            raise KeeperRefused("nobody_listens", "Nobody answers there.")
        return connection

    async def write(
        self, key: str, offset: int, data: bytes, *, close: bool = False, fence: int | None = None
    ) -> int:
        """How many bytes of its input the process has then."""
        request = {"do": "input", "key": key, "offset": offset, "size": len(data), "close": close}
        request |= {"fence": fence} if fence is not None else {}
        async with _Line.to(self._folder, KEEPER_SOCKET) as line:
            return int((await line.ask(request, data))["taken"])


async def _is_connected(connection: socket.socket) -> bool:
    """Once that is known: who listens may be busy, and not take it."""
    writable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_writer(connection, writable.set)
    try:
        async with asyncio.timeout(_CONNECTED_WITHIN):
            await writable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_writer(connection)
    return not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


class FileLine:
    """A conversation with who reads and writes the files of a sandbox."""

    def __init__(self, line: "_Line") -> None:
        self._line = line

    async def ask(self, do: str, **request: Any) -> dict[str, Any]:
        return await self._line.ask({"do": do, **request}, patience=_FILE_PATIENCE)

    async def send(self, data: bytes) -> None:
        """A piece of what is written; none is the end."""
        for begin in range(0, len(data), files.PIECE):
            piece = data[begin : begin + files.PIECE]
            await self._line.send(files.LENGTH.pack(len(piece)) + piece)
        if not data:
            await self._line.send(files.LENGTH.pack(0))

    async def done(self) -> dict[str, Any]:
        return await self._line.hear(_FILE_PATIENCE)

    def rest(self) -> AsyncGenerator[bytes, None]:
        """The bytes, or lines, that follow an answer."""
        return self._line.rest()


class ChangesLine:
    """A conversation with who reads the layer that a sandbox writes to."""

    def __init__(self, line: "_Line") -> None:
        self._line = line

    async def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) async for line in self._line.lines_to_end()]

    async def contents(self, paths: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
        asking = asyncio.create_task(self._ask_for(paths))
        try:
            async for data in self._line.rest():
                yield data
            await asking
        finally:
            await background.end(asking)

    async def _ask_for(self, paths: Sequence[bytes]) -> None:
        asked = b"".join(upper.PATH.pack(len(path)) + path for path in (*paths, b""))
        for begin in range(0, len(asked), _READ):
            await self._line.send(asked[begin : begin + _READ])


@dataclass(frozen=True)
class Label:
    """What stands at a sandbox on its node, whoever remembers it elsewhere."""

    id: str
    epoch: int
    """0 where its keeper has not said which."""
    ended: str | None
    """Why, if its keeper has said so."""


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
        limits: Mapping[str, float | None] | None = None,
        env: Mapping[str, str] | None = None,
        layer: Path | None = None,
        builds: bool = False,
        stopping: bool = False,
        network: Mapping[str, Any] | None = None,
        doors: Sequence[Mapping[str, Any]] = (),
    ) -> KeeperClient:
        """A new sandbox; returns when it takes orders."""
        request: dict[str, Any] = {"id": identifier, "epoch": epoch, "lifetime": lifetime}
        request |= {"limits": dict(limits or {}), "env": dict(env or {})}
        request |= {"network": dict(network or {}), "doors": [dict(door) for door in doors]}
        if lower is not None:
            request["lower"] = str(lower)
        if layer is not None:
            request["layer"] = str(layer)
        request |= {"builds": builds, "stopping": stopping}
        async with _Line.to(self._folder, SOCKET) as line:
            await line.ask(request)
        return self.of(identifier)

    def holds(self) -> list[str]:
        """What the role limits for all of a sandbox together."""
        try:
            found: list[str] = json.loads((self._folder / HOLDS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        return found

    def of(self, identifier: str) -> KeeperClient:
        return KeeperClient(self._folder / identifier)

    def labels(self) -> list[Label]:
        """Of every sandbox that has a folder here."""
        found = [self.label(path.parent.name) for path in self._folder.glob(f"[!.]*/{LABEL}")]
        return [label for label in found if label is not None]

    def label(self, identifier: str) -> Label | None:
        """None where it has no folder here."""
        folder = self._folder / identifier
        try:
            label = json.loads((folder / LABEL).read_text(encoding="utf-8") or '{"epoch": 0}')
        except FileNotFoundError:
            return None
        with suppress(FileNotFoundError):
            ended = json.loads((folder / ENDED).read_text(encoding="utf-8"))
            return Label(identifier, label["epoch"], ended["reason"])
        return Label(identifier, label["epoch"], None)

    def is_held(self, identifier: str) -> bool:
        """Whether a keeper has it still, or already."""
        return is_held(self._folder / identifier)


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
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(0)
            line = _Line(connection, folder)
            try:
                with reached(folder) as short:
                    await line._loop.sock_connect(connection, str(short / name))
            except OSError as error:
                raise KeeperGone(str(folder)) from error
            yield line

    async def ask(
        self, request: dict[str, Any], data: bytes = b"", patience: float = _PATIENCE
    ) -> dict[str, Any]:
        await self.send(wire.encode(request) + data)
        return await self.hear(patience)

    async def send(self, data: bytes) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._loop.sock_sendall(self._connection, data)
        except TimeoutError as error:
            raise KeeperRefused("no_answer", "Its keeper does not take what is sent.") from error
        except OSError as error:
            raise KeeperGone(str(self._folder)) from error

    async def hear(self, patience: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(patience):
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

    async def ask_for_socket(self, request: dict[str, Any]) -> socket.socket:
        """The answer is a line, and a descriptor with its first byte."""
        await self.send(wire.encode(request))
        readable = asyncio.Event()
        self._loop.add_reader(self._connection, readable.set)
        try:
            async with asyncio.timeout(_PATIENCE):
                await readable.wait()
            self._rest, descriptors = libc.receive(self._connection, _READ, 1)
        except TimeoutError as error:
            raise KeeperRefused("no_answer", "Its keeper does not answer, or not yet.") from error
        except OSError as error:
            raise KeeperGone(str(self._folder)) from error
        finally:
            self._loop.remove_reader(self._connection)
        if not descriptors:
            await self.hear(_PATIENCE)  # why there is none
            raise KeeperRefused("failed", "Its keeper has sent no connection.")
        return socket.socket(fileno=descriptors[0])

    async def lines_to_end(self) -> AsyncGenerator[bytes, None]:
        """Up to the one that says so."""
        while True:
            *lines, self._rest = self._rest.split(b"\n")
            for number, line in enumerate(lines):
                if line == upper.END:
                    self._rest = b"".join(each + b"\n" for each in lines[number + 1 :]) + self._rest
                    return
                yield line
            more = await self._receive()
            if not more:
                raise KeeperGone("it ended in the middle of what it tells")
            self._rest += more

    async def until_closed(self) -> None:
        while await self._receive():
            pass

    async def rest(self) -> AsyncGenerator[bytes, None]:
        """All that follows, as it comes."""
        data = self._rest or await self._receive()
        while data:
            yield data
            data = await self._receive()

    async def _receive(self) -> bytes:
        """Nothing where the other side has ended."""
        try:
            return await self._loop.sock_recv(self._connection, _READ)
        except ConnectionError:
            return b""
