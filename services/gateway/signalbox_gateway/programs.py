"""Programs in sandboxes, for people: run to their end, followed, or spoken with at a terminal."""

import asyncio
import codecs
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import WebSocket
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from starlette.websockets import WebSocketDisconnect

from signalbox_common import background, telemetry
from signalbox_common.contracts import sandbox as contract
from signalbox_common.dataplane import DataClient
from signalbox_common.dataplane.frames import Frame, FrameKind, FrameReader
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_gateway import event_stream
from signalbox_gateway.closing import ENDED, close_of

log = telemetry.get_logger()

MOST_OUTPUT = 1024 * 1024
"""Bytes of each stream that an answer holds."""
_PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.0)


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


class Programs:
    """Of one sandbox, by the data plane of its node."""

    def __init__(self, client: DataClient, sandbox: str) -> None:
        self._client = client
        self._sandbox = sandbox

    async def start(self, key: str, program: contract.Program) -> contract.Process:
        body = program.encode()
        answer = await self._client.write(
            contract.START_PROCESS, lambda: _once(body), sandbox=self._sandbox, key=key
        )
        return contract.Process.model_validate_json(answer)

    async def give(self, key: str, data: bytes, offset: int = 0, *, close: bool = False) -> int:
        """How much of its input it has then; to give the same again adds nothing."""
        named = {"sandbox": self._sandbox, "key": key, "from": str(offset)} | (
            {"close": "true"} if close else {}
        )
        answer = await self._client.write(contract.WRITE_INPUT, lambda: _once(data), **named)
        return contract.InputTaken.model_validate_json(answer).taken

    async def feed(self, key: str, content: AsyncIterator[bytes]) -> None:
        """All of its input, as it comes; once."""
        named = {"sandbox": self._sandbox, "key": key, "from": "0", "close": "true"}
        await self._client.pass_on(contract.WRITE_INPUT, content, **named)

    async def signal(self, key: str, wanted: contract.SignalProcess) -> None:
        await self._client.write(
            contract.SIGNAL_PROCESS, lambda: _once(wanted.encode()), sandbox=self._sandbox, key=key
        )

    async def confirm(self, key: str, offset: int) -> None:
        """All before that may go."""
        body = contract.ConfirmOutput(offset=offset).encode()
        await self._client.write(contract.CONFIRM_OUTPUT, lambda: _once(body), sandbox=self._sandbox, key=key)

    async def resize(self, key: str, size: contract.Terminal) -> None:
        await self._client.write(
            contract.RESIZE_TERMINAL, lambda: _once(size.encode()), sandbox=self._sandbox, key=key
        )

    async def processes(self) -> bytes:
        return await _whole(self._client, contract.LIST_PROCESSES, sandbox=self._sandbox)

    async def process(self, key: str) -> bytes:
        return await _whole(self._client, contract.GET_PROCESS, sandbox=self._sandbox, key=key)

    async def end(self, key: str) -> None:
        """With all that it has started."""
        await self.signal(key, contract.SignalProcess(signal=9, tree=True))

    async def frames(self, key: str, offset: int = 0, *, follow: bool = True) -> AsyncGenerator[Frame, None]:
        """Each byte once, however often the connection is cut; the end comes last, if it comes at all."""
        tries = iter(_PAUSES)
        while True:
            reader = FrameReader()
            named = {"sandbox": self._sandbox, "key": key, "follow": str(follow).lower()}
            try:
                async with self._client.body(contract.READ_OUTPUT, offset, **named) as body:
                    async for chunk in body.once():
                        tries = iter(_PAUSES)
                        for frame in reader.feed(chunk):
                            offset = frame.following
                            yield frame
                            if frame.kind is FrameKind.END:
                                return
            except httpx.TransportError as error:
                log.debug("goes on reading", offset=offset, reason=repr(error)[:200])
            if not follow:
                return
            pause = next(tries, None)
            if pause is None:
                raise Unavailable("The node of the sandbox does not answer.")
            await asyncio.sleep(pause)

    # -- to its end ------------------------------------------------------------------------------------------

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
        decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in FrameKind}
        try:
            async with (
                aclosing(self.frames(key, offset)) as all_frames,
                aclosing(event_stream.with_pauses(all_frames)) as frames,
            ):
                async for frame in frames:
                    if frame is None:
                        yield event_stream.KEEPALIVE
                    elif frame.kind is FrameKind.END:
                        for kind in (FrameKind.STDOUT, FrameKind.STDERR, FrameKind.PTY):
                            if left := decoders[kind].decode(b"", final=True):
                                yield _event(frame.offset, kind.name.lower(), {"text": left})
                        yield _event(frame.offset, "end", _end_of(frame))
                    elif frame.kind is FrameKind.GAP:
                        yield _event(frame.following, "gap", {"bytes": frame.following - frame.offset})
                    else:
                        text = decoders[frame.kind].decode(frame.content)
                        yield _event(frame.following, frame.kind.name.lower(), {"text": text})
        except SignalboxError as error:
            yield event_stream.error_event(error)

    # -- at a terminal -----------------------------------------------------------------------------------

    async def converse(self, socket: WebSocket, key: str, offset: int) -> None:
        """Bytes both ways; text is for what is said about the terminal itself."""
        try:
            await background.until_one_ends(self._tell(socket, key, offset), self._hear(socket, key))
        except WebSocketDisconnect:
            return
        except SignalboxError as error:
            await socket.close(*close_of(error))
        else:
            await socket.close(ENDED)

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


def _event(offset: int, name: str, data: dict[str, Any]) -> bytes:
    return event_stream.event(name, json.dumps(data).encode(), offset)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


async def _whole(client: DataClient, route: Any, **names: str) -> bytes:
    return b"".join([chunk async for chunk in client.read(route, **names)])
