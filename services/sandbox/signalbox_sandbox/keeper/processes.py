"""The programs of one sandbox: started once, read, written to, and ended with all that they started."""

import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from signalbox_sandbox.keeper.box import WORKSPACE
from signalbox_sandbox.keeper.loop import Loop
from signalbox_sandbox.keeper.orders import Answer, Orders
from signalbox_sandbox.keeper.output import Budget
from signalbox_sandbox.keeper.process import READ, Process, Then, close_all, pipes, resize, size_of
from signalbox_sandbox.keeper.refused import Refused
from signalbox_sandbox.keeper.wire import Kind

MOST = 1_000
"""Processes that are remembered, running or ended."""
ROOM_MADE = 4 * 1024 * 1024
"""Bytes of output that go together, where there is no room for more."""
END_AGAIN = 1.0
"""Seconds until all are ended again, where that was not done."""
LINGER = 0.1
"""Seconds after its end in which what a process has left in its pipes is waited for."""
_STREAMS = (Kind.STDOUT, Kind.STDERR)


class Processes:
    def __init__(self, loop: Loop, environment: Callable[[], Mapping[str, str]]) -> None:
        self._loop = loop
        self._budget = Budget()
        self._environment = environment
        """What all that are started now have in theirs."""
        self.paused = False
        self.frozen = False
        """Whether nothing is to run, so that nothing changes."""
        self.stopping = False
        """Whether what it is for is over: nothing more begins."""
        self._all: dict[str, Process] = {}
        self._running: dict[int, Process] = {}
        self.orders: Orders

    def get(self, key: str) -> Process:
        process = self._all.get(key)
        if process is None or not process.pid:
            raise Refused("unknown_process", "There is no such process.")
        return process

    @property
    def described(self) -> list[dict[str, Any]]:
        return [process.described for process in self._all.values() if process.pid]

    @property
    def running(self) -> int:
        return len(self._running)

    # -- start and end -----------------------------------------------------------------------------------

    def start(self, key: str, asked: dict[str, Any], then: Then) -> None:
        """Asked for twice under one key, it is started once."""
        process = self._all.get(key)
        if process is None:
            if self.paused:
                raise Refused("paused", "The sandbox is paused.")
            if self.frozen:
                raise Refused("frozen", "The sandbox is frozen.")
            if self.stopping:
                raise Refused("run_ended", "What it is for has ended.")
            if len(self._all) >= MOST:
                self._forget_one()
            process = Process(key, asked, self._budget)
            self._launch(process)
            self._all[key] = process
        elif process.asked != asked:
            raise Refused("key_taken", "Another process was started under this key.")
        if process.pid:
            then(process)
        else:
            process.waiting.append(then)

    def _forget_one(self) -> None:
        for key, process in self._all.items():
            if process.output.ended:
                process.output.forget()
                del self._all[key]
                return
        raise Refused("too_many_processes", f"At most {MOST} processes run in a sandbox.")

    def _launch(self, process: Process) -> None:
        asked = process.asked
        if asked.get("pty") is not None:
            size_of(asked["pty"]["rows"], asked["pty"]["cols"])  # said wrongly, nothing is started
        process.timeout = float(asked.get("timeout") or 0)
        order = {
            "do": "start",
            "argv": asked["argv"],
            "env": {**self._environment(), **asked.get("env", {})},
            "cwd": str(Path(WORKSPACE, asked.get("cwd") or "")),
            "pty": asked.get("pty") is not None,
            "mark": process.key,
        }
        ours, theirs = pipes() if not order["pty"] else ([], [])
        try:
            self.orders.give(order, partial(self._launched, process, ours), theirs)
        except Refused:
            close_all(ours)
            raise
        finally:
            close_all(theirs)

    def _launched(self, process: Process, ours: list[int], answer: Answer, passed: list[int]) -> None:
        waiting, process.waiting = process.waiting, []
        if "error" in answer:
            close_all(ours)
            del self._all[process.key]
            for then in waiting:
                then(Refused("not_started", answer["error"]))
            return
        process.pid = answer["pid"]
        self._running[process.pid] = process
        asked = process.asked
        if passed:
            process.stdin = process.terminal = passed[0]
            process.streams = {passed[0]: Kind.PTY}
            resize(process, asked["pty"]["rows"], asked["pty"]["cols"])
        else:
            process.stdin, *read = ours
            process.streams = dict(zip(read, _STREAMS, strict=True))
            if not asked.get("stdin"):
                self._close_input(process)
        if process.stdin is not None:
            os.set_blocking(process.stdin, False)
        for descriptor in process.streams:
            os.set_blocking(descriptor, False)
            self._loop.on_readable(descriptor, partial(self._read, process, descriptor))
        self._set_timer(process)
        for then in waiting:
            then(process)

    def _set_timer(self, process: Process) -> None:
        if process.timeout > 0:
            process.timer = self._loop.after(process.timeout, partial(self._time_out, process))

    def pause(self, then: Callable[[Answer, list[int]], None]) -> None:
        """All programs stop where they are, whoever has started them, and their time with them."""

        def paused(answer: Answer, passed: list[int]) -> None:
            if "error" not in answer:
                for process in self._running.values():
                    if process.timer is not None:
                        process.timeout = max(0.001, process.timer.due - time.monotonic())
                        process.timer.cancel()
                        process.timer = None
            else:
                self.paused = False
            then(answer, passed)

        self.paused = True
        self.orders.give({"do": "pause"}, paused)

    def resume(self, then: Callable[[Answer, list[int]], None]) -> None:
        def resumed(answer: Answer, passed: list[int]) -> None:
            if "error" not in answer and self.paused:
                self.paused = False
                for process in self._running.values():
                    self._set_timer(process)
            then(answer, passed)

        self.orders.give({"do": "resume"}, resumed)

    def _time_out(self, process: Process) -> None:
        process.reason = "timeout"
        with suppress(Refused):  # a sandbox that does not answer ends as a whole
            self.end(process, lambda _answer, _passed: None)

    def end_all(self, why: str) -> None:
        """Of all that run, whoever has started them."""
        for process in self._running.values():
            process.reason = why

        def told(answer: Answer, _passed: list[int]) -> None:
            if "error" in answer:
                self._loop.after(END_AGAIN, partial(self.end_all, why))

        try:
            self.orders.give({"do": "end-all"}, told)
        except Refused:  # until it is heard
            self._loop.after(END_AGAIN, partial(self.end_all, why))

    def stop(self, grace: float, then: Callable[[Answer, list[int]], None]) -> None:
        """All are told to end, and ended when the grace is over; no other begins."""
        self.stopping = True
        for process in self._running.values():
            process.reason = "stopped"
        self._loop.after(grace, partial(self.end_all, "stopped"))
        self.orders.give({"do": "tell-all", "signal": signal.SIGTERM}, then)

    def end(self, process: Process, then: Callable[[Answer, list[int]], None]) -> None:
        """With all that it has started, daemons included."""
        self.orders.give({"do": "end", "pid": process.pid, "mark": process.key}, then)

    def signal(self, process: Process, number: int, then: Callable[[Answer, list[int]], None]) -> None:
        if process.status is not None:
            raise Refused("ended", "The process has ended.")
        self.orders.give({"do": "signal", "pid": process.pid, "signal": number}, then)

    def ended(self, pid: int, status: int) -> None:
        """As the resident says: it answers that one was started before it says that it has ended."""
        process = self._running.pop(pid, None)
        if process is None:
            return  # a daemon whose parents have ended
        process.status = status
        if process.timer is not None:
            process.timer.cancel()
        self._loop.after(LINGER, partial(self._give_up_streams, process))
        self._settle(process)

    # -- output ------------------------------------------------------------------------------------------

    def _read(self, process: Process, descriptor: int) -> None:
        room = process.output.room
        if room <= 0:
            self._loop.on_readable(descriptor, None)
            process.paused.add(descriptor)
            return
        try:
            data = os.read(descriptor, min(READ, room))
        except BlockingIOError:
            return
        except OSError:  # a terminal that nobody has open any more
            data = b""
        if not data:
            self._drop(process, descriptor)
            self._settle(process)
        elif not process.output.ended:
            process.output.add(process.streams[descriptor], data)
            if self._budget.left == 0:
                self._make_room()
        # else it is of a daemon that nobody listens to, and which must not be held up

    def _drop(self, process: Process, descriptor: int) -> None:
        del process.streams[descriptor]
        self._loop.forget(descriptor)
        os.close(descriptor)
        if descriptor == process.stdin:
            process.stdin = process.terminal = None
            self._next_writer(process)

    def _settle(self, process: Process) -> None:
        """It is over when it has ended and all that it said was read."""
        if process.status is not None and not process.streams and not process.output.ended:
            self._finish(process)

    def _give_up_streams(self, process: Process) -> None:
        """Somebody that it has left behind holds its streams: what came before the end is read, and told."""
        if process.output.ended:
            return
        if process.paused:
            self._loop.after(LINGER, partial(self._give_up_streams, process))
            return
        for descriptor, kind in process.streams.items():
            # Once: no more than that lay in it then, and who writes on and on must not hold up all else.
            with suppress(OSError):
                if data := os.read(descriptor, min(READ, process.output.room)):
                    process.output.add(kind, data)
        self._finish(process)

    def _finish(self, process: Process) -> None:
        self._close_input(process)
        process.output.finish(json.dumps(process.state).encode())

    def _make_room(self) -> None:
        """Of what has ended first, the oldest before all; then of who holds the most."""
        ended = [process.output for process in self._all.values() if process.output.ended]
        running = [process.output for process in self._running.values()]
        for output in (*ended, *sorted(running, key=lambda output: -output.releasable)):
            if self._budget.left >= ROOM_MADE:
                break
            output.release(ROOM_MADE - self._budget.left)
        for process in self._running.values():
            self._go_on(process)

    def confirm(self, process: Process, offset: int) -> None:
        process.output.confirm(offset)
        if self._budget.left == 0:
            self._make_room()
        self._go_on(process)

    def _go_on(self, process: Process) -> None:
        """Where it was paused, and there is room."""
        if process.paused and process.output.room > 0:
            paused, process.paused = process.paused & process.streams.keys(), set()
            for descriptor in paused:
                self._loop.on_readable(descriptor, partial(self._read, process, descriptor))

    # -- input -------------------------------------------------------------------------------------------

    def write(self, process: Process, data: bytes) -> int:
        """How much of it was taken; none where it has to wait."""
        if process.stdin is None:
            raise Refused("input_closed", "The process takes no input any more.")
        try:
            written = os.write(process.stdin, data)
        except BlockingIOError:
            return 0
        except OSError as error:  # it does not want any more
            self._close_input(process)
            raise Refused("input_closed", "The process takes no input any more.") from error
        process.taken += written
        return written

    def when_writable(self, process: Process, callback: Callable[[], None] | None) -> None:
        """Or over."""
        if process.stdin is not None:
            self._loop.on_writable(process.stdin, callback)
        elif callback is not None:
            callback()

    def end_input(self, process: Process) -> None:
        if process.terminal is not None:
            self.write(process, b"\x04")  # what a person types there
            process.taken -= 1
        else:
            self._close_input(process)

    def _close_input(self, process: Process) -> None:
        if process.stdin is not None and process.terminal is None:
            self._loop.forget(process.stdin)
            os.close(process.stdin)
            process.stdin = None
            self._next_writer(process)

    @staticmethod
    def _next_writer(process: Process) -> None:
        """Whoever still waits is to hear that there is nobody to write to."""
        if process.writers:
            process.writers[0]()
