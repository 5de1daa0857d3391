"""The log of a run: written before it is told, and told before the program may say more."""

import asyncio
import codecs
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from nats.errors import Error as NatsError

from signalbox_common import background, cloudevents, telemetry
from signalbox_common.bus import Bus
from signalbox_common.contracts.events import ProgressEvent, ProgressOmitted
from signalbox_common.contracts.tasks import RunLogged, StepName
from signalbox_common.dataplane.frames import Frame, FrameKind
from signalbox_common.dataplane.programs import ProgramClient
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_tasks.domain import Run
from signalbox_tasks.service.followers import LogFollowers
from signalbox_tasks.store import logs
from signalbox_tasks.store.logs import LogPiece
from signalbox_tasks.work.turn import Turn

log = telemetry.get_logger()

BUDGET = 8 * 1024 * 1024
"""Bytes of a log that are told; all of it can be read."""
KEPT = 24 * 3600
"""Seconds for which the stream keeps them."""
COALESCED = 0.05
"""Seconds that what is said waits for more."""
FULL, TOLD = 256 * 1024, 16 * 1024
"""Bytes that are written, and told, at a time."""
_CONFIRMED = 1024 * 1024
_STREAMS = {FrameKind.STDOUT: "stdout", FrameKind.STDERR: "stderr"}


class RunLog:
    """Tells of what is in the logs of runs; a line that is told twice has the same number."""

    def __init__(self, bus: Bus, followers: LogFollowers) -> None:
        self._bus = bus
        self._followers = followers

    async def tell(self, run: Run, pieces: Sequence[LogPiece], decoders: "Decoders") -> None:
        self._followers.told(run.id)
        for piece in pieces:
            for begin in range(0, len(piece.content), TOLD):
                part = piece.content[begin : begin + TOLD]
                offset = piece.begin + begin + len(part)
                text = decoders.text(piece.stream, part)
                if offset <= BUDGET and text:
                    await self._publish(
                        run,
                        RunLogged(
                            number=offset,
                            run=run.id,
                            task=run.task_id,
                            step=StepName(piece.step),
                            stream=_STREAMS[FrameKind(piece.stream)],
                            offset=offset,
                            text=text,
                        ),
                    )

    async def tell_of_the_rest(self, run: Run) -> None:
        """What was not told, once a program has ended."""
        if run.log_end > BUDGET:
            left = run.log_end - BUDGET
            await self._publish(run, ProgressOmitted(number=run.log_end, events=left // TOLD + 1, bytes=left))

    async def _publish(self, run: Run, event: ProgressEvent) -> None:
        """It stands in the log: where the stream does not take it, nobody waits for that."""
        headers = cloudevents.headers_of(event, uuid7(), "tasks", operation=str(run.id)) | {
            cloudevents.MESSAGE_ID: f"tasks:{run.id}:{event.number}",
            cloudevents.TTL: f"{KEPT}s",
        }
        try:
            await self._bus.store_event(event.subject_in(run.project_id, "tasks"), event.encode(), headers)
        except (TimeoutError, NatsError, SignalboxError) as error:
            log.warning("log not told", run=str(run.id), reason=repr(error)[:200])


class Decoders:
    """Bytes as text, however the pieces are cut."""

    def __init__(self) -> None:
        self._known: dict[int, codecs.IncrementalDecoder] = {}

    def text(self, stream: int, content: bytes) -> str:
        decoder = self._known.setdefault(stream, codecs.getincrementaldecoder("utf-8")("replace"))
        return decoder.decode(content)


async def read_program(turn: Turn, told: RunLog, programs: ProgramClient, key: str) -> dict[str, Any]:
    """From where it was read last, by whomever; what it ended with."""
    offset = int(turn.run.facts.get("offsets", {}).get(key, 0))
    confirmed, decoders = offset, Decoders()
    async with aclosing(batches(programs.frames(key, offset))) as reading:
        async for frames in reading:
            pieces, end = await _write(turn, key, frames)
            await told.tell(turn.run, pieces, decoders)
            offset = frames[-1].following
            if offset - confirmed >= _CONFIRMED:
                await programs.confirm(key, offset)
                confirmed = offset
            if end is not None:
                await told.tell_of_the_rest(turn.run)
                return end
    raise SignalboxError("the output of a program has no end")


async def _write(
    turn: Turn, key: str, frames: Sequence[Frame]
) -> tuple[list[LogPiece], dict[str, Any] | None]:
    """With how far it was read, so that nothing stands there twice."""
    end: dict[str, Any] | None = None
    async with turn.transaction() as transaction:
        run = await turn.now(transaction)
        pieces: list[LogPiece] = []
        at = run.log_end
        for frame in frames:
            if frame.kind is FrameKind.END:
                end = json.loads(frame.content)
                continue
            stream, content = frame.kind, frame.content
            if frame.kind is FrameKind.GAP:
                lost = frame.following - frame.offset
                stream, content = FrameKind.STDERR, f"[{lost} bytes were not kept]\n".encode()
            if pieces and pieces[-1].stream == stream:
                last = pieces[-1]
                pieces[-1] = replace(last, content=last.content + content)
            else:
                pieces.append(LogPiece(at, turn.step, stream, content))
            at += len(content)
        if pieces:
            await logs.add(transaction, run.id, pieces)
        facts = dict(run.facts)
        facts["offsets"] = {**facts.get("offsets", {}), key: frames[-1].following}
        if end is not None:
            facts["ended"] = {**facts.get("ended", {}), key: end}
        await turn.save(transaction, replace(run, log_end=at, facts=facts))
    return pieces, end


async def batches(frames: AsyncGenerator[Frame, None]) -> AsyncGenerator[list[Frame], None]:
    """Those that come together, so that little is written often; the last one ends with the end."""
    coming: asyncio.Task[Frame | None] | None = None
    try:
        ended = False
        while not ended:
            coming = coming or asyncio.create_task(_next_of(frames))
            found = [first] if (first := await coming) is not None else []
            coming = None
            if not found:
                return
            size, deadline = len(found[0].content), time.monotonic() + COALESCED
            while found[-1].kind is not FrameKind.END and size < FULL:
                coming = coming or asyncio.create_task(_next_of(frames))
                done, _ = await asyncio.wait([coming], timeout=max(0.0, deadline - time.monotonic()))
                if not done:
                    break
                following, coming = coming.result(), None
                if following is None:
                    ended = True
                    break
                found.append(following)
                size += len(following.content)
            yield found
            ended = ended or found[-1].kind is FrameKind.END
    finally:
        await background.end(coming)
        await frames.aclose()


async def _next_of(frames: AsyncIterator[Frame]) -> Frame | None:
    return await anext(frames, None)
