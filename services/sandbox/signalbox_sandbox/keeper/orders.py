"""The keeper's side of its conversation with the resident."""

import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from signalbox_sandbox.keeper import libc
from signalbox_sandbox.keeper.inside import LONGEST
from signalbox_sandbox.keeper.refused import Refused

PATIENCE = 10.0
"""Seconds for an answer: whoever inside has stopped the resident gets none."""


class Orders:
    def __init__(
        self, resident: socket.socket, *, ended: Callable[[int, int], None], gone: Callable[[], None]
    ) -> None:
        self._resident = resident
        self._ended = ended
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._number = 0

    def start(self) -> None:
        self._resident.settimeout(0)
        self._loop.add_reader(self._resident, self._hear)

    def stop(self) -> None:
        self._loop.remove_reader(self._resident)
        self._resident.close()

    async def ask(
        self, order: dict[str, Any], descriptors: Sequence[int] = ()
    ) -> tuple[dict[str, Any], list[int]]:
        """The answer, and descriptors that came with it."""
        self._number += 1
        number = self._number
        data = json.dumps({**order, "order": number}).encode()
        if len(data) > LONGEST:
            raise Refused("too_large", f"Arguments and environment have at most {LONGEST} bytes together.")
        answered: asyncio.Future[tuple[dict[str, Any], list[int]]] = self._loop.create_future()
        self._waiting[number] = answered
        try:
            socket.send_fds(self._resident, [data], list(descriptors))
            async with asyncio.timeout(PATIENCE):
                return await answered
        except (TimeoutError, BlockingIOError) as error:
            raise Refused("no_answer", "The sandbox does not answer.") from error
        finally:
            del self._waiting[number]

    def _hear(self) -> None:
        try:
            data, descriptors = libc.receive(self._resident, LONGEST, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._loop.remove_reader(self._resident)
            self._gone()
            return
        message = json.loads(data)
        if "order" not in message:
            self._ended(message["ended"], message["status"])
            return
        waiting = self._waiting.get(message["order"])
        if waiting is None or waiting.done():
            for descriptor in descriptors:
                os.close(descriptor)
            return
        waiting.set_result((message, descriptors))
