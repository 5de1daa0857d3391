"""One sandbox: what its service may ask of it, and the end that was set for it."""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from signalbox_sandbox.keeper import libc, upper
from signalbox_sandbox.keeper.box import TREE, Box, Plan
from signalbox_sandbox.keeper.connection import Connection, Request, count_of
from signalbox_sandbox.keeper.disk import DiskWatch
from signalbox_sandbox.keeper.egress import Egress, ports_of
from signalbox_sandbox.keeper.loop import Loop, Timer
from signalbox_sandbox.keeper.orders import Answer, Orders
from signalbox_sandbox.keeper.process import Process, resize
from signalbox_sandbox.keeper.processes import Processes
from signalbox_sandbox.keeper.refused import Refused

ACCEPT_PAUSE = 0.5
_CHANGES_WITHIN = 300
"""Seconds that reading all of them takes at most."""
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError)


class Keeper:
    """Serves on a private socket until its sandbox ends."""

    def __init__(
        self,
        box: Box,
        resident: socket.socket,
        listener: socket.socket,
        ways_out: Sequence[socket.socket],
        plan: Plan,
        request: dict[str, Any],
    ) -> None:
        """`request` is what the role was asked for: `epoch`, `lifetime`, `env`, `network`, `doors`."""
        self._box = box
        self._plan = plan
        self._epoch = request["epoch"]
        self._listener = listener
        self._loop = Loop()
        self._why = ""
        self._ways_out = frozenset(ports_of(request))
        self._egress = Egress(self._loop, plan.folder.parent, ways_out, request)
        self._processes = Processes(self._loop, lambda: {**self._egress.variables, **request.get("env", {})})
        self._processes.stopping = bool(request.get("stopping"))
        self._orders = self._processes.orders = Orders(
            self._loop,
            resident,
            ended=self._ended,
            gone=partial(self._finish, "resident_lost"),
        )
        self._fence = 0
        self._at_files: set[int] = set()
        """Processes of ours inside that read and write files for somebody."""
        self._readers: set[int] = set()
        """Children that read what was changed."""
        wanted = request.get("disk", {})
        self._disk = DiskWatch(
            self._loop,
            plan.folder,
            most_bytes=wanted.get("disk"),
            most_entries=wanted.get("entries"),
            runs=lambda: self._processes.running > 0 or bool(self._at_files),
            exceeded=self._end_all,
        )
        if self._epoch > 1:
            self._disk.wake()  # for what it has from before
        self._deadline: Timer | None = None
        self._set_deadline(request["lifetime"])
        self._actions: dict[str, Callable[[Connection, Request], None]] = {
            "status": self._status,
            "set-deadline": self._extend,
            "set-network": self._set_network,
            "stop-programs": self._stop_programs,
            "pause": self._pause,
            "resume": self._resume,
            "watch": self._watch,
            "measure": self._measure,
            "connect": self._connect,
            "end": self._end,
            "freeze": self._freeze,
            "thaw": self._thaw,
            "changes": self._changes,
            "files": self._files,
            "processes": self._list,
            "process": self._describe,
            "start": self._start,
            "output": self._output,
            "confirm": self._confirm,
            "input": self._input,
            "signal": self._signal,
            "resize": self._resize,
            "end-process": self._end_process,
        }

    def run(self) -> str:
        """Returns why the sandbox has ended."""
        watched = os.pidfd_open(self._box.process.pid)
        self._loop.on_readable(watched, partial(self._finish, "failed"))
        self._listener.settimeout(0)
        self._listen()
        try:
            self._loop.run()
        finally:
            self._listener.close()
            for reader in self._readers:
                os.kill(reader, signal.SIGKILL)
            self._disk.end()
            self._box.end()
        return self._why

    def _finish(self, why: str) -> None:
        self._why = self._why or why
        self._loop.stop()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # there are too many open: it is tried again when some may be closed
            self._loop.on_readable(self._listener.fileno(), None)
            self._loop.after(ACCEPT_PAUSE, self._listen)
            return
        Connection(self._loop, connection, self._serve)

    def _listen(self) -> None:
        self._loop.on_readable(self._listener.fileno(), self._accept)

    # -- what it is asked --------------------------------------------------------------------------------

    def _serve(self, connection: Connection, request: Request) -> None:
        try:
            self._check_fence(request)
            self._actions[request["do"]](connection, request)
        except Refused as refused:
            connection.answer(_refusal(refused))
        except OSError as error:
            connection.answer({"error": "failed", "detail": error.strerror or str(error)})
        except _MALFORMED as error:
            connection.answer({"error": "malformed", "detail": repr(error)})

    def _check_fence(self, request: Request) -> None:
        """Who comes for an earlier epoch of the run than somebody before is too late."""
        fence = request.get("fence")
        if fence is None:
            return
        if fence < self._fence:
            raise Refused("fenced", "Somebody later is at work here.")
        self._fence = fence

    def _status(self, connection: Connection, _request: Request) -> None:
        left = max(0.0, self._deadline.due - time.monotonic()) if self._deadline is not None else 0.0
        connection.answer(
            {
                "epoch": self._epoch,
                "pid": os.getpid(),
                "secondsLeft": left,
                "running": self._processes.running,
                "paused": self._processes.paused,
                "diskBytes": self._disk.used[0],
                "diskEntries": self._disk.used[1],
            }
        )

    def _watch(self, connection: Connection, _request: Request) -> None:
        """This conversation ends with the sandbox."""
        connection.answer({})

    def _measure(self, connection: Connection, _request: Request) -> None:
        def told(answer: Answer, passed: list[int]) -> None:
            if "error" in answer:
                _done(connection, answer, passed)
                return
            size, entries = self._disk.used
            connection.answer({**answer, "disk": size, "entries": entries})

        self._orders.give({"do": "measure"}, told)

    def _extend(self, connection: Connection, request: Request) -> None:
        self._set_deadline(request["seconds"])
        connection.answer({})

    def _set_network(self, connection: Connection, request: Request) -> None:
        """Programs that run already find a way out by the proxy alone, if they know it."""
        policy = request["network"]
        if not isinstance(policy, dict):
            raise TypeError("a policy says `public` or `hosts`")
        self._egress.set_policy(policy, partial(connection.answer, {}))

    def _stop_programs(self, connection: Connection, request: Request) -> None:
        """For good: whoever comes for another one is too late."""
        self._processes.stop(float(request["grace"]), partial(_done, connection))

    def _pause(self, connection: Connection, _request: Request) -> None:
        """Its time stands still, too."""

        def paused(answer: Answer, passed: list[int]) -> None:
            if "error" not in answer and self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            _done(connection, answer, passed)

        self._processes.pause(paused)

    def _resume(self, connection: Connection, request: Request) -> None:
        seconds = float(request["seconds"])

        def resumed(answer: Answer, passed: list[int]) -> None:
            if "error" not in answer:
                self._set_deadline(seconds)
            _done(connection, answer, passed)

        self._processes.resume(resumed)

    def _set_deadline(self, seconds: float) -> None:
        if self._processes.paused:
            raise Refused("paused", "A sandbox that is paused has no deadline.")
        timer = self._loop.after(seconds, partial(self._finish, "deadline"))
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = timer

    def _end(self, connection: Connection, request: Request) -> None:
        self._finish(request.get("reason", "destroyed"))
        connection.answer({})

    def _end_all(self) -> None:
        """Whoever has written more than is allowed is not asked to stop."""
        self._processes.end_all("disk")

    def _connect(self, connection: Connection, request: Request) -> None:
        """To a port inside; the descriptor of that connection comes with the answer."""
        if self._processes.paused or self._processes.frozen:
            raise Refused("paused", "Nothing runs in the sandbox.")
        port = count_of(request["port"])
        if port in self._ways_out:
            raise Refused("nobody_listens", "That is a way out.")

        def connected(answer: Answer, passed: list[int]) -> None:
            if "error" in answer or not passed:
                refusal = Refused("nobody_listens", "Nobody listens there.")
                connection.answer(_refusal(refusal))
            else:
                connection.answer_with(passed[0])
            for descriptor in passed:
                os.close(descriptor)

        self._orders.give({"do": "connect", "port": port}, connected)

    def _files(self, connection: Connection, _request: Request) -> None:
        """From here on, the other end speaks with a process of ours inside."""
        if self._processes.frozen:
            raise Refused("frozen", "The sandbox is frozen.")
        order = {"do": "files", "room": self._disk.room}
        try:
            self._orders.give(order, partial(self._handed_over, connection), [connection.lend()])
        except Refused:
            connection.take_back()
            raise

    def _handed_over(self, connection: Connection, answer: Answer, _passed: list[int]) -> None:
        if "error" in answer:
            connection.take_back()
            connection.answer({"error": "failed", "detail": answer["error"]})
        else:
            self._at_files.add(answer["pid"])
            self._disk.wake()
            connection.close()

    def _ended(self, pid: int, status: int) -> None:
        if pid in self._at_files:
            self._at_files.discard(pid)
            self._disk.changed()
        else:
            self._processes.ended(pid, status)

    def _freeze(self, connection: Connection, _request: Request) -> None:
        """Ends all programs, and starts none until it is told so: then what they have written stays so."""

        def frozen(answer: Answer, passed: list[int]) -> None:
            if "error" in answer:
                self._processes.frozen = False
            _done(connection, answer, passed)

        self._processes.frozen = True
        self._orders.give({"do": "end-all"}, frozen)

    def _thaw(self, connection: Connection, _request: Request) -> None:
        self._processes.frozen = False
        connection.answer({})

    def _changes(self, connection: Connection, _request: Request) -> None:
        if not self._processes.frozen:
            raise Refused("not_frozen", "What is read is to stay as it is meanwhile: freeze it first.")
        conversation = connection.lend()
        reader = os.fork()
        if reader == 0:
            _tell_changes(conversation, self._plan)
        connection.close()
        self._readers.add(reader)
        ended = os.pidfd_open(reader)
        self._loop.on_readable(ended, partial(self._reap_reader, reader, ended))

    def _reap_reader(self, reader: int, ended: int) -> None:
        self._loop.forget(ended)
        os.close(ended)
        os.waitpid(reader, 0)
        self._readers.discard(reader)

    def _list(self, connection: Connection, _request: Request) -> None:
        connection.answer({"processes": self._processes.described})

    def _describe(self, connection: Connection, request: Request) -> None:
        connection.answer(self._processes.get(request["key"]).described)

    def _start(self, connection: Connection, request: Request) -> None:
        self._disk.wake()
        self._processes.start(request["key"], request["asked"], partial(_started, connection))

    def _output(self, connection: Connection, request: Request) -> None:
        process = self._processes.get(request["key"])
        connection.tell(process, count_of(request.get("from", 0)), follow=request.get("follow", False))

    def _confirm(self, connection: Connection, request: Request) -> None:
        process = self._processes.get(request["key"])
        self._processes.confirm(process, count_of(request["offset"]))
        connection.answer({"confirmed": process.output.confirmed})

    def _input(self, connection: Connection, request: Request) -> None:
        try:
            process: Process | Refused = self._processes.get(request["key"])
        except Refused as refused:
            process = refused  # what follows is still to be read
        connection.take(self._processes, process, request)

    def _signal(self, connection: Connection, request: Request) -> None:
        process = self._processes.get(request["key"])
        self._processes.signal(process, request["signal"], partial(_done, connection))

    def _resize(self, connection: Connection, request: Request) -> None:
        resize(self._processes.get(request["key"]), request["rows"], request["cols"])
        connection.answer({})

    def _end_process(self, connection: Connection, request: Request) -> None:
        self._processes.end(self._processes.get(request["key"]), partial(_done, connection))


def _started(connection: Connection, process: Process | Refused) -> None:
    connection.answer(_refusal(process) if isinstance(process, Refused) else process.described)


def _done(connection: Connection, answer: Answer, _passed: list[int]) -> None:
    connection.answer({"error": "failed", "detail": answer["error"]} if "error" in answer else {})


def _tell_changes(conversation: int, plan: Plan) -> NoReturn:
    """In a child: what it takes its time over holds nobody up."""
    try:
        signal.alarm(_CHANGES_WITHIN)
        libc.close_all_but(conversation)
        with socket.socket(fileno=conversation) as line:
            line.setblocking(True)  # noqa: FBT003 - its only form
            line.sendall(b"{}\n")
            lower = plan.lower / TREE if plan.lower is not None else None
            upper.serve(line, plan.folder / "workspace", lower)
    finally:
        os._exit(0)


def _refusal(refused: Refused) -> dict[str, Any]:
    return {"error": refused.code, "detail": str(refused)}
