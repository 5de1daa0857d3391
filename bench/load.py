"""A load generator that costs little: raw HTTP/1.1 over keep-alive connections, in a process of its own.

`run` starts it with a `Load` on standard input and reads the `Result` from standard output.
"""

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import uvloop

HOST = "127.0.0.1"
PATIENCE = 10.0
"""Seconds to wait for answers after the last request went out."""


@dataclass(frozen=True)
class Load:
    """What to send; bounded in time and in count."""

    port: int
    method: str
    path: str
    token: str
    seconds: float
    clients: int = 1
    rate: float = 0.0
    """Requests per second of an open loop; 0 means a closed loop."""
    warmup: float = 0.0
    """Seconds of the closed loop that are not counted."""
    body: str = ""
    """`{n}` becomes the number of the request."""
    most: int = 200_000


@dataclass
class Result:
    """Latencies in milliseconds."""

    requests: int = 0
    """Answered, and counted."""
    sent: int = 0
    per_second: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    longest: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    """How often each status came; `none` counts requests without an answer."""

    def other_than(self, status: str) -> int:
        return sum(count for came, count in self.statuses.items() if came != status)


def run(load: Load) -> Result:
    """Generates the load in a fresh process and answers what it saw."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        check=False,
        timeout=load.warmup + load.seconds + 3 * PATIENCE,
    )
    if done.returncode:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()[-800:]}")
    return Result(**json.loads(done.stdout))


# -- one connection ------------------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """Sends one request at a time; of an answer it reads the status and the length only."""

    def __init__(self, driver: "Driver") -> None:
        self._driver = driver
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._missing = -1
        self._status = 0
        self.since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - part of the interface
        self._driver.lost(self)

    def send(self, request: bytes, since: float) -> None:
        assert self._transport is not None
        self.since = since
        self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            data = self._buffer + data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                return
            self._buffer = b""
            self._status = int(data[9:12])
            self._missing = _content_length(data[:end]) + end + 4
        self._missing -= len(data)
        if self._missing == 0:
            self._missing = -1
            self._driver.answered(self, self._status)


def _content_length(head: bytes) -> int:
    start = head.lower().index(b"content-length:") + 15
    end = head.find(b"\r", start)
    return int(head[start : end if end >= 0 else len(head)])


# -- closed and open loop ------------------------------------------------------------------------------


class Driver:
    """What both loops share: connections, counting, and the end."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.connections: list[Connection] = []
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.sent = 0
        self.finished = asyncio.Event()
        head = (
            f"{load.method} {load.path} HTTP/1.1\r\nHost: {HOST}:{load.port}\r\n"
            f"Authorization: Bearer {load.token}\r\n"
        )
        if load.body:
            head += "Content-Type: application/json\r\n"
        self._head = head.encode()
        self._fixed = self._head + b"\r\n"

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self.load.clients):
            _, connection = await loop.create_connection(lambda: Connection(self), HOST, self.load.port)
            self.connections.append(connection)

    async def drive(self) -> None:
        raise NotImplementedError

    def answered(self, connection: Connection, status: int) -> None:
        raise NotImplementedError

    def lost(self, connection: Connection) -> None:  # noqa: ARG002 - which one does not matter
        if not self.finished.is_set():
            raise RuntimeError("the server closed a connection")

    def request(self) -> bytes:
        self.sent += 1
        if not self.load.body:
            return self._fixed
        body = self.load.body.replace("{n}", str(self.sent)).encode()
        return b"%bContent-Length: %d\r\n\r\n%b" % (self._head, len(body), body)

    def count(self, connection: Connection, status: int, now: float) -> None:
        self.latencies.append(now - connection.since)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def result(self) -> Result:
        times = sorted(self.latencies)
        statuses = {str(status): count for status, count in sorted(self.statuses.items())}
        return Result(
            requests=len(times),
            sent=self.sent,
            per_second=len(times) / self.load.seconds,
            p50=_percentile(times, 0.50),
            p90=_percentile(times, 0.90),
            p99=_percentile(times, 0.99),
            longest=_percentile(times, 1.0),
            statuses=statuses,
        )


class ClosedLoop(Driver):
    """Each client sends its next request when the last one is answered."""

    async def drive(self) -> None:
        self._begin = time.perf_counter() + self.load.warmup
        self._end = self._begin + self.load.seconds
        for connection in self.connections:
            connection.send(self.request(), time.perf_counter())
        await asyncio.wait_for(self.finished.wait(), self.load.warmup + self.load.seconds + PATIENCE)

    def answered(self, connection: Connection, status: int) -> None:
        now = time.perf_counter()
        if now >= self._end or self.sent >= self.load.most:
            self.finished.set()
            return
        if now >= self._begin:
            self.count(connection, status, now)
        connection.send(self.request(), now)


class OpenLoop(Driver):
    """Requests go out by the clock; latency counts from the moment for which a request was planned."""

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self._planned = min(round(load.rate * load.seconds), load.most)
        self._idle: deque[Connection] = deque()
        self._late: deque[float] = deque()

    async def drive(self) -> None:
        self._idle = deque(self.connections)
        pacer = threading.Thread(target=self._pace, args=(asyncio.get_running_loop(),), daemon=True)
        pacer.start()
        try:
            await asyncio.wait_for(self.finished.wait(), self.load.seconds + PATIENCE)
        except TimeoutError:
            self.finished.set()

    def _pace(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread, since the timers of an event loop are good for whole milliseconds only."""
        begin = time.perf_counter() + 0.05
        for number in range(self._planned):
            planned = begin + number / self.load.rate
            time.sleep(max(0.0, planned - time.perf_counter()))
            loop.call_soon_threadsafe(self._due, planned)

    def _due(self, planned: float) -> None:
        if self._idle:
            # In turn: the gateway closes a connection over which nothing comes for ten seconds.
            self._idle.popleft().send(self.request(), planned)
        else:
            self._late.append(planned)

    def answered(self, connection: Connection, status: int) -> None:
        self.count(connection, status, time.perf_counter())
        if self._late:
            connection.send(self.request(), self._late.popleft())
        else:
            self._idle.append(connection)
        if len(self.latencies) == self._planned:
            self.finished.set()

    def result(self) -> Result:
        result = super().result()
        unanswered = self._planned - len(self.latencies)
        if unanswered:
            result.statuses["none"] = unanswered
        return result


def _percentile(times: list[float], share: float) -> float:
    """In milliseconds, of a sorted list of seconds."""
    if not times:
        return 0.0
    return round(times[min(int(share * len(times)), len(times) - 1)] * 1000, 3)


async def _generate(load: Load) -> Result:
    driver = OpenLoop(load) if load.rate else ClosedLoop(load)
    failures: list[dict[str, Any]] = []

    def failed(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failures.append(context)
        driver.finished.set()

    asyncio.get_running_loop().set_exception_handler(failed)
    await driver.connect()
    gc.collect()
    gc.disable()
    await driver.drive()
    driver.finished.set()
    for connection in driver.connections:
        connection.close()
    if failures:
        raise RuntimeError(str(failures[0].get("exception") or failures[0]["message"]))
    return driver.result()


def main() -> None:
    load = Load(**json.load(sys.stdin))
    json.dump(asdict(uvloop.run(_generate(load))), sys.stdout)


if __name__ == "__main__":
    main()
