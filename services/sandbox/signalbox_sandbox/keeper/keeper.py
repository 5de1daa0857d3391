"""One sandbox: what its service may ask of it, and the end that was set for it."""

import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from signalbox_sandbox.keeper.box import Box
from signalbox_sandbox.keeper.connection import Connection, Request
from signalbox_sandbox.keeper.loop import Loop, Timer
from signalbox_sandbox.keeper.orders import Answer, Orders
from signalbox_sandbox.keeper.processes import Process, Processes, resize
from signalbox_sandbox.keeper.refused import Refused

_MALFORMED = (LookupError, TypeError, ValueError, AttributeError)


class Keeper:
    """Serves on a private socket until its sandbox ends."""

    def __init__(
        self, box: Box, resident: socket.socket, listener: socket.socket, *, epoch: int, lifetime: float
    ) -> None:
        self._box = box
        self._epoch = epoch
        self._listener = listener
        self._loop = Loop()
        self._why = ""
        self._processes = Processes(self._loop)
        self._processes.orders = Orders(
            self._loop,
            resident,
            ended=self._processes.ended,
            gone=partial(self._finish, "resident_lost"),
        )
        self._fence = 0
        self._deadline: Timer | None = None
        self._set_deadline(lifetime)
        self._actions: dict[str, Callable[[Request], dict[str, Any]]] = {
            "status": self._status,
            "processes": lambda _request: {"processes": self._processes.described},
            "confirm": self._confirm,
            "resize": self._resize,
            "set-deadline": self._extend,
            "end": self._end,
        }

    def run(self) -> str:
        """Returns why the sandbox has ended."""
        watched = os.pidfd_open(self._box.process.pid)
        self._loop.on_readable(watched, partial(self._finish, "failed"))
        self._listener.settimeout(0)
        self._loop.on_readable(self._listener.fileno(), self._accept)
        try:
            self._loop.run()
        finally:
            self._listener.close()
            self._box.end()
        return self._why

    def _finish(self, why: str) -> None:
        self._why = self._why or why
        self._loop.stop()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has left already, or there are too many
            return
        Connection(self._loop, connection, self._serve)

    # -- what it is asked --------------------------------------------------------------------------------

    def _serve(self, connection: Connection, request: Request) -> None:
        try:
            self._check_fence(request)
            self._do(connection, request)
        except Refused as refused:
            connection.answer(_refusal(refused))
        except OSError as error:
            connection.answer({"error": "failed", "detail": error.strerror or str(error)})
        except _MALFORMED as error:
            connection.answer({"error": "malformed", "detail": repr(error)})

    def _do(self, connection: Connection, request: Request) -> None:
        def then(answer: Answer, _passed: list[int]) -> None:
            failed = {"error": "failed", "detail": answer.get("error")}
            connection.answer(failed if "error" in answer else {})

        match request["do"]:
            case "start":
                self._processes.start(request["key"], request["asked"], partial(_started, connection))
            case "output":
                process = self._processes.get(request["key"])
                connection.tell(process, request.get("from", 0), follow=request.get("follow", False))
            case "input":
                connection.take(self._processes, self._known(request["key"]), request)
            case "signal":
                self._processes.signal(self._processes.get(request["key"]), request["signal"], then)
            case "end-process":
                self._processes.end(self._processes.get(request["key"]), then)
            case other:
                connection.answer(self._actions[other](request))

    def _known(self, key: str) -> Process | Refused:
        try:
            return self._processes.get(key)
        except Refused as refused:
            return refused

    def _check_fence(self, request: Request) -> None:
        """Who comes for an earlier epoch of the run than somebody before is too late."""
        fence = request.get("fence")
        if fence is None:
            return
        if fence < self._fence:
            raise Refused("fenced", "Somebody later is at work here.")
        self._fence = fence

    def _status(self, _request: Request) -> dict[str, Any]:
        return {
            "epoch": self._epoch,
            "pid": os.getpid(),
            "secondsLeft": max(0.0, self._deadline.due - time.monotonic()) if self._deadline else 0.0,
            "running": self._processes.running,
        }

    def _extend(self, request: Request) -> dict[str, Any]:
        self._set_deadline(request["seconds"])
        return {}

    def _set_deadline(self, seconds: float) -> None:
        timer = self._loop.after(seconds, partial(self._finish, "deadline"))
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = timer

    def _end(self, request: Request) -> dict[str, Any]:
        self._finish(request.get("reason", "destroyed"))
        return {}

    def _confirm(self, request: Request) -> dict[str, Any]:
        process = self._processes.get(request["key"])
        self._processes.confirm(process, request["offset"])
        return {"confirmed": process.output.confirmed}

    def _resize(self, request: Request) -> dict[str, Any]:
        resize(self._processes.get(request["key"]), request["rows"], request["cols"])
        return {}


def _started(connection: Connection, process: Process | Refused) -> None:
    connection.answer(_refusal(process) if isinstance(process, Refused) else process.described)


def _refusal(refused: Refused) -> dict[str, Any]:
    return {"error": refused.code, "detail": str(refused)}
