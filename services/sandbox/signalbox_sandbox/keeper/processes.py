"""The programs of one sandbox: started once, read, written to, and ended with all that they started."""

import asyncio
import fcntl
import json
import os
import struct
import termios
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from signalbox_sandbox.keeper.box import WORKSPACE
from signalbox_sandbox.keeper.orders import Orders
from signalbox_sandbox.keeper.output import Output
from signalbox_sandbox.keeper.refused import Refused
from signalbox_sandbox.keeper.wire import Kind

MOST = 1_000
"""Processes that are remembered, running or ended."""
READ = 256 * 1024
"""Bytes that are read, or lie in a pipe, at a time."""
LINGER = 0.1
"""Seconds after its end in which what a process has left in its pipes is waited for."""
_STREAMS = (Kind.STDOUT, Kind.STDERR)
_SET_PIPE_SIZE = 1031


@dataclass(eq=False)
class Process:
    key: str
    asked: dict[str, Any]
    """What it was started with: asked for again otherwise, it is a conflict."""
    output: Output
    pid: int = 0
    started_at: float = field(default_factory=time.time)
    streams: dict[int, Kind] = field(default_factory=dict)
    """Descriptors that are read, until they end."""
    paused: set[int] = field(default_factory=set)
    """Those of them that nobody reads, as there is no room."""
    stdin: int | None = None
    terminal: int | None = None
    taken: int = 0
    """Bytes of its input that it was given."""
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    status: int | None = None
    reason: str = "exited"
    timer: asyncio.TimerHandle | None = None

    @property
    def described(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "pid": self.pid,
            "argv": self.asked["argv"],
            "startedAt": self.started_at,
            "begin": self.output.begin,
            "end": self.output.end,
            "confirmed": self.output.confirmed,
            "inputTaken": self.taken,
            **self.state,
        }

    @property
    def state(self) -> dict[str, Any]:
        if self.status is None:
            return {"state": "running"}
        code = os.waitstatus_to_exitcode(self.status)
        return {
            "state": "ended",
            "exitCode": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "reason": self.reason,
        }


class Processes:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._all: dict[str, Process] = {}
        self._running: dict[int, Process] = {}
        self._early: dict[int, int] = {}
        """Those that ended before it was heard that they had been started, with their status."""
        self._starting = asyncio.Lock()
        self._ending: set[asyncio.Task[Any]] = set()
        self.orders: Orders

    def get(self, key: str) -> Process:
        process = self._all.get(key)
        if process is None:
            raise Refused("unknown_process", "There is no such process.")
        return process

    @property
    def described(self) -> list[dict[str, Any]]:
        return [process.described for process in self._all.values()]

    @property
    def running(self) -> int:
        return len(self._running)

    # -- start and end -----------------------------------------------------------------------------------

    async def start(self, key: str, asked: dict[str, Any]) -> Process:
        """Asked for twice under one key, it is started once."""
        async with self._starting:
            process = self._all.get(key)
            if process is not None:
                if process.asked != asked:
                    raise Refused("key_taken", "Another process was started under this key.")
                return process
            if len(self._all) >= MOST:
                self._forget_one()
            process = Process(key, asked, Output(hold=bool(asked.get("hold"))))
            await self._launch(process)
            self._all[key] = process
            self._running[process.pid] = process
            if (status := self._early.pop(process.pid, None)) is not None:
                self.ended(process.pid, status)
            return process

    def _forget_one(self) -> None:
        for key, process in self._all.items():
            if process.output.ended:
                del self._all[key]
                return
        raise Refused("too_many_processes", f"At most {MOST} processes run in a sandbox.")

    async def _launch(self, process: Process) -> None:
        asked = process.asked
        terminal = asked.get("pty")
        order = {
            "do": "start",
            "argv": asked["argv"],
            "env": asked.get("env", {}),
            "cwd": asked.get("cwd") or WORKSPACE,
            "pty": terminal is not None,
            "mark": process.key,
        }
        ours, theirs = _pipes() if terminal is None else ([], [])
        try:
            answer, passed = await self.orders.ask(order, theirs)
        finally:
            _close(theirs)
        if "error" in answer:
            _close(ours)
            raise Refused("not_started", answer["error"])
        process.pid = answer["pid"]
        if terminal is None:
            process.stdin, *read = ours
            process.streams = dict(zip(read, _STREAMS, strict=True))
            if not asked.get("stdin"):
                self._close_input(process)
        else:
            process.stdin = process.terminal = passed[0]
            process.streams = {passed[0]: Kind.PTY}
            resize(process, terminal["rows"], terminal["cols"])
        for descriptor in {*process.streams, process.stdin} - {None}:
            os.set_blocking(descriptor, False)
        for descriptor in process.streams:
            self._loop.add_reader(descriptor, self._read, process, descriptor)
        if asked.get("timeout"):
            process.timer = self._loop.call_later(asked["timeout"], self._time_out, process)

    def _time_out(self, process: Process) -> None:
        process.reason = "timeout"
        task = self._loop.create_task(self.end(process))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end(self, process: Process) -> None:
        """With all that it has started, daemons included."""
        with suppress(Refused):  # a sandbox that does not answer ends as a whole
            await self.orders.ask({"do": "end", "pid": process.pid, "mark": process.key})

    async def signal(self, process: Process, number: int) -> None:
        if process.status is not None:
            raise Refused("ended", "The process has ended.")
        answer, _ = await self.orders.ask({"do": "signal", "pid": process.pid, "signal": number})
        if "error" in answer:
            raise Refused("failed", answer["error"])

    def ended(self, pid: int, status: int) -> None:
        """As the resident says."""
        process = self._running.pop(pid, None)
        if process is None:
            self._early[pid] = status
            return
        process.status = status
        if process.timer is not None:
            process.timer.cancel()
        self._loop.call_later(LINGER, self._give_up_streams, process)
        self._settle(process)

    # -- output ------------------------------------------------------------------------------------------

    def _read(self, process: Process, descriptor: int) -> None:
        room = process.output.room
        if room <= 0:
            self._loop.remove_reader(descriptor)
            process.paused.add(descriptor)
            return
        try:
            data = os.read(descriptor, min(READ, room))
        except BlockingIOError:
            return
        except OSError:  # a terminal that nobody has open any more
            data = b""
        if data:
            if not process.output.ended:
                process.output.add(process.streams[descriptor], data)
            return  # else it is of a daemon that nobody listens to, and which must not be held up
        self._loop.remove_reader(descriptor)
        del process.streams[descriptor]
        if descriptor == process.stdin:
            process.stdin = process.terminal = None
        os.close(descriptor)
        self._settle(process)

    def _settle(self, process: Process) -> None:
        """It is over when it has ended and all that it said was read."""
        if process.status is not None and not process.streams and not process.output.ended:
            self._finish(process)

    def _give_up_streams(self, process: Process) -> None:
        """Somebody that it has left behind holds its streams: what came before the end is read, and told."""
        if process.output.ended:
            return
        if process.paused:
            self._loop.call_later(LINGER, self._give_up_streams, process)
            return
        for descriptor, kind in process.streams.items():
            with suppress(OSError):
                while process.output.room > 0 and (data := os.read(descriptor, READ)):
                    process.output.add(kind, data)
        self._finish(process)

    def _finish(self, process: Process) -> None:
        self._close_input(process)
        process.output.finish(json.dumps(process.state).encode())

    def confirm(self, process: Process, offset: int) -> None:
        process.output.confirm(offset)
        if process.output.room > 0:
            paused, process.paused = process.paused & process.streams.keys(), set()
            for descriptor in paused:
                self._loop.add_reader(descriptor, self._read, process, descriptor)

    # -- input -------------------------------------------------------------------------------------------

    async def write(self, process: Process, offset: int, pieces: AsyncIterator[bytes]) -> None:
        """What it was given before is left out, so that a repeat adds nothing."""
        async with process.writing:
            if offset > process.taken:
                raise Refused("input_gap", f"It has {process.taken} bytes of its input; there is a gap.")
            async for piece in pieces:
                fresh = piece[max(0, process.taken - offset) :]
                offset += len(piece)
                while fresh:
                    written = await self._write_some(process, fresh)
                    process.taken += written
                    fresh = fresh[written:]

    async def _write_some(self, process: Process, data: bytes) -> int:
        while process.stdin is not None:
            try:
                return os.write(process.stdin, data)
            except BlockingIOError:
                await self._writable(process)
            except OSError:  # it does not want any more
                self._close_input(process)
        raise Refused("input_closed", "The process takes no input any more.")

    async def _writable(self, process: Process) -> None:
        """Or over, whichever comes first."""
        descriptor = process.stdin
        if descriptor is None:
            return
        # As it stays for as long as it is awaited, even where its process ends and it is closed meanwhile.
        own = os.dup(descriptor)
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(own, _tell, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(own)
            os.close(own)

    async def close_input(self, process: Process) -> None:
        async with process.writing:
            if process.terminal is not None:
                await self._write_some(process, b"\x04")  # what a person types there
            else:
                self._close_input(process)

    @staticmethod
    def _close_input(process: Process) -> None:
        if process.stdin is not None and process.terminal is None:
            os.close(process.stdin)
            process.stdin = None


def _tell(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def resize(process: Process, rows: int, columns: int) -> None:
    if process.terminal is None:
        raise Refused("no_terminal", "The process has no terminal.")
    fcntl.ioctl(process.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _pipes() -> tuple[list[int], list[int]]:
    """Our ends of standard input, output and error, and those of the process."""
    given, stdin = os.pipe()
    stdout, out = os.pipe()
    stderr, err = os.pipe()
    with suppress(OSError):  # there is a limit for all pipes of a user
        fcntl.fcntl(stdout, _SET_PIPE_SIZE, READ)
    return [stdin, stdout, stderr], [given, out, err]
