"""Many clients that cost little: raw protocols that look for nothing but what is counted.

A `Crowd` starts them in a process of their own and talks to it, a line of JSON each way. What is told carries
a number and the moment at which it was sent, so a client can tell how late it is, and whether something is
missing.
"""

import asyncio
import gc
import json
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from typing import Any, Literal, cast

import uvloop

HOST = "127.0.0.1"
SPARE_FILES = 300
"""Of the files that a process may open, those that are not for clients."""
HANDSHAKE_WITHIN = 30.0
PAUSE = 1.0
"""Seconds after which a client that was cut off comes again; up to half of that more by chance."""
ANSWER_WITHIN = 300.0
LINE = 64 * 1024 * 1024

_BEGIN = b'"data":{"n":'
_AT = b',"at":'
_OFFSET = re.compile(rb"\b[0-9a-f]{16}:[0-9]+")
_KEY = "c2lnbmFsYm94LWJlbmNoLQ=="
_BLOCK, _CHUNK, _END = b"\n\n", b"\n\n\r\n", b"0\r\n\r\n"
_MASK = b"\x80\x00\x00\x00\x00"

Kind = Literal["sse", "ws", "plain-sse", "plain-ws"]


@dataclass(frozen=True)
class Clients:
    """Some clients of one address; plain ones are told without having asked for anything in particular."""

    kind: Kind
    port: int
    path: str
    count: int
    token: str = ""
    project: str = ""


@dataclass(frozen=True)
class Task:
    """What one process is to do."""

    clients: list[Clients]
    sources: list[str]
    """One address has 28,232 ports for its connections."""
    at_once: int = 64
    """Handshakes under way at the same time; who waits for a turn is not connecting yet."""


def data_of(number: int, at: int, size: int = 0) -> bytes:
    """What is told: its number, nanoseconds of the monotonic clock, and as many bytes as wanted."""
    said = b'{"n":%d,"at":%d,"pad":"' % (number, at)
    return said + b"x" * (size - len(said) - 2) + b'"}'


def limit() -> int:
    """How many clients one process may hold."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_FILES


# -- one client ----------------------------------------------------------------------------------------


class Client(asyncio.Protocol):
    """One connection after the other; what came last is kept, since it says where to go on."""

    __slots__ = ("crew", "entered", "heard", "last", "rest", "since", "transport", "whole", "wish")

    def __init__(self, crew: "Crew", wish: Clients) -> None:
        self.crew = crew
        self.wish = wish
        self.heard = -1
        """The number of the last event."""
        self.last = b""
        self._reset()

    def _reset(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.rest = b""
        self.entered: asyncio.Future[None] | None = None
        self.whole = False
        """Whether it is where events come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._request())

    def connection_lost(self, exc: Exception | None) -> None:
        was_whole, entered = self.whole, self.entered
        self._reset()
        if entered is not None and not entered.done():
            entered.set_exception(ConnectionError(type(exc).__name__ if exc else "closed"))
        elif was_whole:
            self.crew.lost(self)

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError

    def _request(self) -> bytes:
        raise NotImplementedError

    def _head(self, *more: str) -> bytes:
        wish = self.wish
        lines = [f"GET {wish.path} HTTP/1.1", f"Host: {HOST}:{wish.port}", *more]
        if wish.token:
            lines.append(f"Authorization: Bearer {wish.token}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def where(self) -> str:
        found = _OFFSET.findall(self.last)
        return found[-1].decode() if found else ""

    def opened(self) -> None:
        self.whole = True
        if self.entered is not None and not self.entered.done():
            self.entered.set_result(None)

    def refuse(self, why: str) -> None:
        if self.entered is not None and not self.entered.done():
            self.entered.set_exception(ConnectionError(why))
        if self.transport is not None:
            self.transport.abort()

    def read(self, data: bytes) -> None:
        """Whole events, none or some."""
        start = data.find(_BEGIN)
        if start < 0:
            if b"resync" in data:
                self.crew.resyncs += 1
            return
        self.last = data
        now = time.perf_counter_ns()
        while start >= 0:
            start += len(_BEGIN)
            middle = data.index(_AT, start)
            number = int(data[start:middle])
            at = int(data[middle + len(_AT) : data.index(b",", middle + len(_AT))])
            self.crew.told(self, number, now, at)
            start = data.find(_BEGIN, middle)


class Stream(Client):
    """Server-sent events."""

    __slots__ = ()

    def _request(self) -> bytes:
        where = self.where()
        more = ("Accept: text/event-stream", *((f"Last-Event-ID: {where}",) if where else ()))
        return self._head(*more)

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data, self.rest = self.rest + data, b""
        if not self.whole:
            self._enter(data)
        elif data.endswith(_CHUNK) or data.endswith(_BLOCK):  # noqa: PIE810 - twice as fast as with a tuple
            self.read(data)
        elif data.endswith(_END):
            self.read(data)
            assert self.transport is not None
            self.transport.abort()
        else:
            self.rest = data

    def _enter(self, data: bytes) -> None:
        head = data.find(b"\r\n\r\n")
        if head >= 0 and data[9:12] != b"200":
            self.refuse(data[9:12].decode())
        elif head < 0 or (self.wish.kind == "sse" and not data.endswith(_CHUNK)):
            self.rest = data
        else:
            if _OFFSET.search(data):
                self.last = data
            self.read(data)
            self.opened()


class Socket(Client):
    """A WebSocket; what it says is masked with zeros."""

    __slots__ = ()

    def _request(self) -> bytes:
        return self._head(
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {_KEY}",
        )

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data, self.rest = self.rest + data, b""
        if data.startswith(b"HTTP/1.1"):
            head = data.find(b"\r\n\r\n")
            if head < 0:
                self.rest = data
                return
            if data[9:12] != b"101":
                self.refuse(data[9:12].decode())
                return
            if self.wish.kind == "ws":
                self._subscribe()
            else:
                self.opened()
            data = data[head + 4 :]
        for opcode, payload in self._frames(data):
            if opcode == 1:
                if self.whole:
                    self.read(payload)
                else:
                    self._enter(payload)
            elif opcode == 9:
                self._write(10, payload)
            elif opcode == 8:
                if not self.whole:
                    self.refuse(f"closed {int.from_bytes(payload[:2], 'big')}")
                elif self.transport is not None:
                    self.transport.abort()

    def _frames(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        while len(data) >= 2:
            size, start = data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(data[2:10], "big"), 10
            if len(data) < start + size:
                break
            yield data[0] & 15, data[start : start + size]
            data = data[start + size :]
        self.rest = data

    def _enter(self, payload: bytes) -> None:
        if b'"subscribed"' in payload:
            self.last = payload
            self.opened()
        elif b'"error"' in payload:
            self.refuse(payload.decode()[:100])

    def _subscribe(self) -> None:
        wanted = {"type": "subscribe", "ref": "a", "project": self.wish.project}
        where = self.where()
        if where:
            wanted["resumeFrom"] = where
        self._write(1, json.dumps(wanted).encode())

    def _write(self, opcode: int, payload: bytes) -> None:
        if self.transport is None:
            return
        size = len(payload)
        if size < 126:
            head = bytes((0x80 | opcode, 0x80 | size)) + _MASK[1:]
        else:
            head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big") + _MASK[1:]
        self.transport.write(head + payload)


# -- all clients of a process --------------------------------------------------------------------------


class Crew:
    """Opens them, opens them again when they are cut off, and counts."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._turns = asyncio.Semaphore(task.at_once)
        self._coming: set[asyncio.Task[None]] = set()
        self.clients: list[Client] = []
        self.open = 0
        self.got = self.expected = 0
        self.last_at = 0
        self.late: list[int] = []
        self.gaps = self.repeats = self.resyncs = self.cut = 0
        self.failures: Counter[str] = Counter()
        self._complete = asyncio.Event()
        self.stopping = False

    def begin(self) -> None:
        for wish in self._task.clients:
            make = Socket if wish.kind.endswith("ws") else Stream
            self.clients += [make(self, wish) for _ in range(wish.count)]
        for client in self.clients:
            self._come(client, 0.0)

    def told(self, client: Client, number: int, now: int, at: int) -> None:
        heard = client.heard
        client.heard = number
        if number != heard + 1 and heard >= 0:
            if number > heard:
                self.gaps += 1
            else:
                self.repeats += 1
                client.heard = heard
        self.late.append(now - at)
        self.got += 1
        self.last_at = now
        if self.got == self.expected:
            self._complete.set()

    def lost(self, client: Client) -> None:
        self.open -= 1
        if not self.stopping:
            self.cut += 1
            self._come(client, PAUSE * (1 + random.random() / 2))

    def _come(self, client: Client, after: float) -> None:
        task = asyncio.get_running_loop().create_task(self._connected(client, after))
        self._coming.add(task)
        task.add_done_callback(self._coming.discard)

    async def _connected(self, client: Client, after: float) -> None:
        loop = asyncio.get_running_loop()
        while not self.stopping:
            await asyncio.sleep(after)
            async with self._turns:
                try:
                    client.entered = entered = loop.create_future()
                    source = random.choice(self._task.sources)
                    async with asyncio.timeout(HANDSHAKE_WITHIN):
                        await loop.create_connection(
                            lambda: client, HOST, client.wish.port, local_addr=(source, 0)
                        )
                        await entered
                except (OSError, TimeoutError) as error:
                    self.failures[str(error)[:60] or type(error).__name__] += 1
                    if client.transport is not None:
                        client.transport.abort()
                    after = PAUSE * (1 + random.random() / 2)
                else:
                    self.open += 1
                    return

    # -- what it is asked ------------------------------------------------------------------------------

    async def arm(self, count: int) -> dict[str, Any]:
        """From now on as many events are counted."""
        self.got, self.expected, self.late = 0, count, []
        self._complete.clear()
        return {}

    async def wait(self, patience: float) -> dict[str, Any]:
        """Until they have come, or for as long as that."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._complete.wait(), patience)
        return {"got": self.got, "last": self.last_at, "late": self.late}

    async def state(self) -> dict[str, Any]:
        return {
            "open": self.open,
            "heard": min((client.heard for client in self.clients if client.whole), default=-1),
            "cut": self.cut,
            "gaps": self.gaps,
            "repeats": self.repeats,
            "resyncs": self.resyncs,
            "failures": dict(self.failures),
            "cpu": time.process_time(),
        }


async def _serve(task: Task) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crew = Crew(task)
    crew.begin()
    gc.collect()
    gc.disable()
    while line := await reader.readline():
        asked = json.loads(line)
        answer = await getattr(crew, asked.pop("do"))(**asked)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    crew.stopping = True
    for client in crew.clients:
        if client.transport is not None:
            client.transport.abort()
    await asyncio.sleep(0)


def main() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    said = json.loads(FileIO(0, closefd=False).readline())  # nothing is read ahead
    clients = [Clients(**each) for each in said.pop("clients")]
    uvloop.run(_serve(Task(clients=clients, **said)))


# -- the process, from outside -------------------------------------------------------------------------


class Crowd:
    """One process of clients."""

    def __init__(self, process: asyncio.subprocess.Process, task: Task) -> None:
        self._process = process
        self.size = sum(each.count for each in task.clients)

    async def ask(self, do: str, **more: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        line = await asyncio.wait_for(stdout.readline(), ANSWER_WITHIN)
        if not line:
            raise RuntimeError("the clients' process has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass
class State:
    """Of several crowds together."""

    open: int
    heard: int
    cut: int
    gaps: int
    repeats: int
    resyncs: int
    cpu: float
    failures: dict[str, int]


@asynccontextmanager
async def crowds(tasks: Sequence[Task]) -> AsyncIterator[list[Crowd]]:
    """Processes that have begun to connect; ended in every case."""
    made: list[asyncio.subprocess.Process] = []
    try:
        found = []
        for task in tasks:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "bench.crowd",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE,
            )
            made.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            found.append(Crowd(process, task))
        yield found
    finally:
        for process in made:
            if process.returncode is None:
                process.terminate()
        for process in made:
            await process.wait()


async def state(of: Sequence[Crowd]) -> State:
    said = await asyncio.gather(*(crowd.ask("state") for crowd in of))
    failures: Counter[str] = Counter()
    for each in said:
        failures.update(each.pop("failures"))
    sums = {name: sum(each[name] for each in said) for name in said[0] if name != "heard"}
    return State(heard=min(each["heard"] for each in said), failures=dict(failures), **sums)


if __name__ == "__main__":
    main()
