"""What is said in frames, as server-sent events."""

import codecs
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from signalbox_common.dataplane.frames import Frame, FrameKind
from signalbox_common.errors import SignalboxError
from signalbox_gateway import event_stream

_SAID = (FrameKind.STDOUT, FrameKind.STDERR, FrameKind.PTY)


async def events_of(
    said: AsyncGenerator[Frame, None], end_of: Callable[[Frame], dict[str, Any]]
) -> AsyncGenerator[bytes, None]:
    """`stdout`, `stderr`, `pty`, `gap`, `end`; the id of each is the offset after it."""
    decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace") for kind in FrameKind}
    try:
        async with (
            aclosing(said) as all_frames,
            aclosing(event_stream.with_pauses(all_frames)) as frames,
        ):
            async for frame in frames:
                if frame is None:
                    yield event_stream.KEEPALIVE
                elif frame.kind is FrameKind.END:
                    for kind in _SAID:
                        if left := decoders[kind].decode(b"", final=True):
                            yield _event(frame.offset, kind.name.lower(), {"text": left})
                    yield _event(frame.offset, "end", end_of(frame))
                elif frame.kind is FrameKind.GAP:
                    yield _event(frame.following, "gap", {"bytes": frame.following - frame.offset})
                else:
                    text = decoders[frame.kind].decode(frame.content)
                    yield _event(frame.following, frame.kind.name.lower(), {"text": text})
    except SignalboxError as error:
        yield event_stream.error_event(error)


def _event(offset: int, name: str, data: dict[str, Any]) -> bytes:
    return event_stream.event(name, json.dumps(data).encode(), offset)
