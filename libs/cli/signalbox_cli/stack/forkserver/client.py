"""The supervisor's end of the fork server."""

import asyncio
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from signalbox_cli.stack.forkserver import wire
from signalbox_cli.stack.home import MARK
from signalbox_cli.stack.processes import Executed, Process
from signalbox_cli.stack.program import PROBE_PATIENCE, Program

NAME = "forkserver"
_MODULE = f"{__package__}.process"
_REPORT_PATIENCE = 0.5
_AT_START = frozenset({"PATH", "HOME", "LANG", "LANGUAGE", "TZ", "OPENSSL_CONF", "GLIBC_TUNABLES", MARK})
_AT_START_PREFIXES = ("LC_", "LD_", "PYTHON", "MALLOC_")


class ForkRefused(OSError):
    """A child would have shared a connection or a lock with the others."""


class ForkServer:
    """Forks programs, and hears how they end; whatever becomes of it, what it has forked is watched."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules
        self._channel: socket.socket | None = None
        self._numbers = itertools.count(1)
        self._reports: dict[int, asyncio.Future[int | None]] = {}
        self._pong: asyncio.Future[bool] | None = None

    def program(self) -> Program:
        return Program(name=NAME, kind="forkserver", ready=self._warm, stop_patience=2.0)

    async def start(self, _program: Program, log: Path) -> Process:
        """What it begins with shows in every child: what an interpreter needs; it is told the rest."""
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, log.open("ab") as output:
            ours.setblocking(False)  # noqa: FBT003 - its only form
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", _MODULE, str(theirs.fileno()), *self._modules),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=_at_start(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        process.stdin.write(json.dumps(dict(os.environ)).encode())
        process.stdin.close()
        self._channel = ours
        asyncio.get_running_loop().add_reader(ours, self._hear, ours)
        return Executed(process)

    async def launch(self, program: Program, log: Path) -> Process:
        if program.module is None:
            raise ValueError(f"{program.name} has no module")
        return await self.fork(program.module, log, environment=program.env, sockets=program.sockets)

    async def fork(
        self, module: str, log: Path, *, environment: dict[str, str], sockets: dict[str, int] | None = None
    ) -> "ForkedProcess":
        """Raises OSError where that is not possible now."""
        channel = self._channel
        if channel is None:
            raise ConnectionResetError("the fork server is not there")
        sockets = sockets or {}
        number = next(self._numbers)
        order = wire.Fork(number, module, environment, list(sockets))
        report = self._reports[number] = asyncio.get_running_loop().create_future()
        ours, theirs = socket.socketpair()
        try:
            with ours, theirs, log.open("ab") as output:
                ours.setblocking(False)  # noqa: FBT003 - its only form
                wire.send(channel, order, [theirs.fileno(), output.fileno(), *sockets.values()])
                theirs.close()
                await _readable(ours)
                answer, descriptors = wire.receive(ours)
                pid = _forked(answer)
                ours.send(wire.GO)
                return ForkedProcess(pid, descriptors[0], report)
        except BaseException:
            self._reports.pop(number, None)
            raise

    async def _warm(self) -> bool:
        if self._channel is None:
            return False
        self._pong = asyncio.get_running_loop().create_future()
        wire.send(self._channel, wire.Ping())
        return await asyncio.wait_for(self._pong, PROBE_PATIENCE)

    def _hear(self, channel: socket.socket) -> None:
        message, _ = wire.receive(channel)
        match message:
            case wire.Exited(number, code):
                report = self._reports.pop(number, None)
                if report is not None and not report.done():
                    report.set_result(code)
            case wire.Pong(warm):
                if self._pong is not None and not self._pong.done():
                    self._pong.set_result(warm)
            case _:
                self.close()

    def close(self) -> None:
        """Nobody tells any more how what was forked has ended."""
        if self._channel is None:
            return
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        self._channel = None
        for report in self._reports.values():
            if not report.done():
                report.set_result(None)
        self._reports.clear()


class ForkedProcess:
    """Known by a descriptor, which tells of its death whoever its parent is, and is never another process."""

    def __init__(self, pid: int, descriptor: int, report: "asyncio.Future[int | None]") -> None:
        self.pid = pid
        self._descriptor: int | None = descriptor
        self._report = report
        self._ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(descriptor, self._died)

    @property
    def ended(self) -> bool:
        return self._descriptor is None

    async def wait(self) -> int | None:
        """How it ended, where that is known: a fork server that imports, or hangs, does not tell at once."""
        return await asyncio.shield(self._ended)

    async def exit_code(self) -> int | None:
        """As `wait`, however long the fork server takes to tell."""
        return await asyncio.shield(self._report)

    def send_signal(self, number: int) -> None:
        if self._descriptor is None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._descriptor, number)

    def _died(self) -> None:
        if self._descriptor is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = None
        self._report.add_done_callback(self._told)
        loop.call_later(_REPORT_PATIENCE, self._told)

    def _told(self, report: "asyncio.Future[int | None] | None" = None) -> None:
        if not self._ended.done():
            self._ended.set_result(report.result() if report is not None else None)


def _at_start() -> dict[str, str]:
    """What the interpreter and the C library read before they run anything of ours; no place for secrets."""
    return {k: v for k, v in os.environ.items() if k in _AT_START or k.startswith(_AT_START_PREFIXES)}


def _forked(answer: wire.Message | None) -> int:
    match answer:
        case wire.Forked(pid):
            return pid
        case wire.Refused(reason):
            raise ForkRefused(reason)
        case _:
            raise ConnectionResetError("the fork server died, or its child did")


async def _readable(channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(channel, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(channel)
