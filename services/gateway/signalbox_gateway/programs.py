"""Programs in sandboxes, for people: run to their end, followed, or spoken with at a terminal."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import WebSocket
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.websockets import WebSocketDisconnect

from signalbox_common import background
from signalbox_common.contracts import sandbox as contract
from signalbox_common.dataplane.frames import Frame, FrameKind
from signalbox_common.dataplane.programs import ProgramClient
from signalbox_common.errors import SignalboxError
from signalbox_gateway.closing import ENDED, close_of
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.connections import CLOSES, connections_of, while_allowed
from signalbox_gateway.output_events import events_of

MOST_OUTPUT = 1024 * 1024
"""Bytes of each stream that an answer holds."""


class ExecResult(BaseModel):
    """What came of a program."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    key: str
    """What it is called: its output can be read again under it."""
    exit_code: int | None
    signal: int | None
    timed_out: bool
    reason: str | None = None
    """`exited`, `timeout`, `stopped` with its run, or `disk` where the sandbox had more there than it may."""
    stdout: str
    stderr: str
    truncated: bool
    """Whether there was more output than this."""
    duration_ms: int


class Programs(ProgramClient):
    """The same for people: to their end, as events, or at a terminal."""

    async def run(self, key: str, program: contract.Program, stdin: bytes | None) -> ExecResult:
        started = time.monotonic()
        await self.start(key, program)
        writing = asyncio.create_task(self._give_all(key, stdin)) if stdin is not None else None
        said: dict[FrameKind, _Text] = {FrameKind.STDOUT: _Text(), FrameKind.STDERR: _Text()}
        truncated, end = False, dict[str, Any]()
        try:
            async for frame in self.frames(key):
                if frame.kind is FrameKind.END:
                    end = json.loads(frame.content)
                elif frame.kind is FrameKind.GAP:
                    truncated = True
                else:
                    truncated |= not said[frame.kind].add(frame.content)
        finally:
            await background.end(writing)
        return ExecResult(
            key=key,
            exit_code=end.get("exitCode"),
            signal=end.get("signal"),
            timed_out=end.get("reason") == "timeout",
            reason=end.get("reason"),
            stdout=said[FrameKind.STDOUT].text,
            stderr=said[FrameKind.STDERR].text,
            truncated=truncated,
            duration_ms=round((time.monotonic() - started) * 1000),
        )

    async def _give_all(self, key: str, data: bytes) -> None:
        try:
            await self.give(key, data, close=True)
        except SignalboxError as error:
            if error.code not in ("input_closed", "process_ended"):
                raise

    async def events(self, key: str, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """As server-sent events; the id of each is the offset after it."""
        async with aclosing(events_of(self.frames(key, offset), _end_of)) as events:
            async for event in events:
                yield event

    # -- at a terminal -----------------------------------------------------------------------------------

    async def converse(self, socket: WebSocket, asker: Asker, key: str, offset: int) -> None:
        """Bytes both ways; text is for what is said about the terminal itself."""
        try:
            why = await while_allowed(
                connections_of(socket.scope), asker, self._tell(socket, key, offset), self._hear(socket, key)
            )
        except WebSocketDisconnect:
            return
        except SignalboxError as error:
            await socket.close(*close_of(error))
        else:
            await socket.close(CLOSES[why] if why is not None else ENDED, why)

    async def _tell(self, socket: WebSocket, key: str, offset: int) -> None:
        async with aclosing(self.frames(key, offset)) as frames:
            async for frame in frames:
                if frame.kind is FrameKind.END:
                    await socket.send_json({"type": "end", **_end_of(frame)})
                elif frame.kind is FrameKind.GAP:
                    await socket.send_json({"type": "gap", "bytes": frame.following - frame.offset})
                else:
                    await socket.send_bytes(frame.content)

    async def _hear(self, socket: WebSocket, key: str) -> None:
        taken = contract.Process.model_validate_json(await self.process(key)).input_taken
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            if (data := message.get("bytes")) is not None:
                taken = await self.give(key, data, taken)
            elif (size := _size_of(message.get("text"))) is not None:
                await self.resize(key, size)


@dataclass
class _Text:
    """The first bytes of a stream."""

    kept: bytearray = field(default_factory=bytearray)

    def add(self, content: bytes) -> bool:
        """Whether all of it fitted in."""
        room = MOST_OUTPUT - len(self.kept)
        self.kept += content[:room]
        return len(content) <= room

    @property
    def text(self) -> str:
        return self.kept.decode(errors="replace")


def _size_of(text: str | None) -> contract.Terminal | None:
    try:
        message = json.loads(text or "null")
        if message["type"] == "resize":
            return contract.Terminal.model_validate(message)
    except (ValueError, TypeError, KeyError):
        return None  # what is not understood changes nothing
    return None


def _end_of(frame: Frame) -> dict[str, Any]:
    end = json.loads(frame.content)
    return {
        "exitCode": end.get("exitCode"),
        "signal": end.get("signal"),
        "timedOut": end.get("reason") == "timeout",
    }
