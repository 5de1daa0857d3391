"""One sandbox: what its service may ask of it, and the end that was set for it."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from signalbox_sandbox.keeper import wire
from signalbox_sandbox.keeper.box import Box
from signalbox_sandbox.keeper.orders import Orders
from signalbox_sandbox.keeper.processes import Processes, resize
from signalbox_sandbox.keeper.refused import Refused

_PIECE = 64 * 1024

Request = dict[str, Any]
Action = Callable[[Request, asyncio.StreamReader], Awaitable[Request]]


class Keeper:
    """Serves on a private socket until its sandbox ends."""

    def __init__(self, box: Box, resident: socket.socket, *, epoch: int, lifetime: float) -> None:
        self._box = box
        self._epoch = epoch
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[str] = self._loop.create_future()
        self._processes = Processes()
        self._orders = Orders(
            resident, ended=self._processes.ended, gone=lambda: self._finish("resident_lost")
        )
        self._processes.orders = self._orders
        self._fence = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._set_deadline(lifetime)
        self._actions: dict[str, Action] = {
            "status": self._status,
            "processes": self._list,
            "start": self._start,
            "confirm": self._confirm,
            "input": self._input,
            "signal": self._signal,
            "resize": self._resize,
            "end-process": self._end_process,
            "set-deadline": self._extend,
            "end": self._end,
        }

    async def run(self, listener: socket.socket, *, ready: Callable[[], object]) -> str:
        """Returns why the sandbox has ended."""
        self._orders.start()
        watched = os.pidfd_open(self._box.process.pid)
        self._loop.add_reader(watched, self._finish, "failed")
        server = await asyncio.start_unix_server(self._serve, sock=listener, limit=wire.LONGEST_LINE)
        ready()
        try:
            return await self._over
        finally:
            server.close()
            self._loop.remove_reader(watched)
            os.close(watched)
            self._orders.stop()
            await asyncio.to_thread(self._box.end)

    def _finish(self, why: str) -> None:
        if not self._over.done():
            self._over.set_result(why)

    # -- what it is asked --------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while (request := await wire.read(reader)) is not None:
                    if request["do"] == "output":
                        await self._send_output(request, writer)
                        return
                    writer.write(wire.encode(await self._answer(request, reader)))
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, request: Request, reader: asyncio.StreamReader) -> Request:
        try:
            self._check_fence(request)
            return await self._actions[request["do"]](request, reader)
        except Refused as refused:
            return {"error": refused.code, "detail": str(refused)}
        except OSError as error:
            return {"error": "failed", "detail": error.strerror or str(error)}
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            return {"error": "malformed", "detail": repr(error)}

    def _check_fence(self, request: Request) -> None:
        """Who comes for an earlier epoch of the run than somebody before is too late."""
        fence = request.get("fence")
        if fence is None:
            return
        if fence < self._fence:
            raise Refused("fenced", "Somebody later is at work here.")
        self._fence = fence

    async def _send_output(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            process = self._processes.get(request["key"])
        except Refused as refused:
            writer.write(wire.encode({"error": refused.code, "detail": str(refused)}))
            await writer.drain()
            return
        writer.write(wire.encode({"end": process.output.end}))
        async for frame in process.output.frames(request.get("from", 0), follow=request.get("follow", False)):
            writer.write(frame.encode())
            await writer.drain()

    async def _status(self, _request: Request, _reader: asyncio.StreamReader) -> Request:
        return {
            "epoch": self._epoch,
            "pid": os.getpid(),
            "secondsLeft": max(0.0, self._ends_at - self._loop.time()),
            "running": self._processes.running,
        }

    async def _extend(self, request: Request, _reader: asyncio.StreamReader) -> Request:
        self._set_deadline(request["seconds"])
        return {}

    def _set_deadline(self, seconds: float) -> None:
        """By the monotonic clock: one that jumps ends nothing."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._ends_at = self._loop.time() + seconds
        self._deadline = self._loop.call_at(self._ends_at, self._finish, "deadline")

    async def _end(self, request: Request, _reader: asyncio.StreamReader) -> Request:
        self._finish(request.get("reason", "destroyed"))
        return {}

    async def _list(self, _request: Request, _reader: asyncio.StreamReader) -> Request:
        return {"processes": self._processes.described}

    async def _start(self, request: Request, _reader: asyncio.StreamReader) -> Request:
        return (await self._processes.start(request["key"], request["asked"])).described

    async def _confirm(self, request: Request, _reader: asyncio.StreamReader) -> Request:
        process = self._processes.get(request["key"])
        self._processes.confirm(process, request["offset"])
        return {"confirmed": process.output.confirmed}

    async def _input(self, request: Request, reader: asyncio.StreamReader) -> Request:
        left = request["size"]

        async def pieces() -> AsyncIterator[bytes]:
            nonlocal left
            while left:
                piece = await reader.read(min(_PIECE, left))
                if not piece:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(piece)
                yield piece

        taking = pieces()
        try:
            process = self._processes.get(request["key"])
            await self._processes.write(process, request["offset"], taking)
            if request.get("close"):
                await self._processes.close_input(process)
        except Refused:
            async for _ in pieces():  # what was not taken is still on its way
                pass
            raise
        return {"taken": process.taken}

    async def _signal(self, request: Request, _reader: asyncio.StreamReader) -> Request:
        await self._processes.signal(self._processes.get(request["key"]), request["signal"])
        return {}

    async def _resize(self, request: Request, _reader: asyncio.StreamReader) -> Request:
        resize(self._processes.get(request["key"]), request["rows"], request["cols"])
        return {}

    async def _end_process(self, request: Request, _reader: asyncio.StreamReader) -> Request:
        await self._processes.end(self._processes.get(request["key"]))
        return {}
