"""The keeper's side of its conversation with the resident."""

import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from signalbox_sandbox.keeper import libc
from signalbox_sandbox.keeper.inside import LONGEST
from signalbox_sandbox.keeper.loop import Loop, Timer
from signalbox_sandbox.keeper.refused import Refused

PATIENCE = 10.0
"""Seconds for an answer: whoever inside has stopped the resident gets none."""

Answer = dict[str, Any]
Then = Callable[[Answer, list[int]], None]
"""Takes the answer, and descriptors that came with it."""


class Orders:
    def __init__(
        self,
        loop: Loop,
        resident: socket.socket,
        *,
        ended: Callable[[int, int], None],
        gone: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._resident = resident
        self._ended = ended
        self._gone = gone
        self._waiting: dict[int, tuple[Then, Timer]] = {}
        self._number = 0
        resident.settimeout(0)
        loop.on_readable(resident.fileno(), self._hear)

    def give(self, order: Answer, then: Then, descriptors: Sequence[int] = ()) -> None:
        """An error is an answer, too: `error` says what it was."""
        self._number += 1
        number = self._number
        data = json.dumps({**order, "order": number}).encode()
        if len(data) > LONGEST:
            raise Refused("too_large", f"Arguments and environment have at most {LONGEST} bytes together.")
        try:
            socket.send_fds(self._resident, [data], list(descriptors))
        except OSError as error:
            raise Refused("no_answer", "The sandbox does not answer.") from error
        timer = self._loop.after(PATIENCE, lambda: self._answer(number, {"error": "no answer"}, []))
        self._waiting[number] = (then, timer)

    def _answer(self, number: int, answer: Answer, descriptors: list[int]) -> None:
        then, timer = self._waiting.pop(number, (None, None))
        if then is None or timer is None:
            for descriptor in descriptors:
                os.close(descriptor)
            return
        timer.cancel()
        then(answer, descriptors)

    def _hear(self) -> None:
        try:
            data, descriptors = libc.receive(self._resident, LONGEST, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._loop.forget(self._resident.fileno())
            self._gone()
            return
        message = json.loads(data)
        if "order" in message:
            self._answer(message["order"], message, descriptors)
        else:
            self._ended(message["ended"], message["status"])
