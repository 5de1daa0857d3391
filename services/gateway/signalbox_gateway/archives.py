"""Folders of sandboxes as tars: packed and unpacked in the sandbox, as one of its programs would."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from signalbox_common.contracts import sandbox as contract
from signalbox_common.dataplane.frames import FrameKind
from signalbox_common.errors import SignalboxError, Unavailable
from signalbox_gateway.errors import BadArchive
from signalbox_gateway.programs import Programs

_CONFIRMED_EACH = 1024 * 1024
_PACKED = (0, 1)
"""With 1, something has changed while it was read."""
_SAID = 500


class Archives:
    def __init__(self, programs: Programs) -> None:
        self._programs = programs

    async def pack(self, folder: str, key: str) -> AsyncGenerator[bytes, None]:
        """Begins it; the bytes come no faster than they are taken, and are cut where it could not be done."""
        argv = ("tar", "-C", folder, "-cf", "-", ".")
        await self._programs.start(key, contract.Program(argv=argv, hold=True))
        return self._packed(key)

    async def _packed(self, key: str) -> AsyncGenerator[bytes, None]:
        async with self._until_left(key):
            confirmed = 0
            async for frame in self._programs.frames(key):
                if frame.kind is FrameKind.STDOUT:
                    yield frame.content
                    if frame.following - confirmed >= _CONFIRMED_EACH:
                        confirmed = frame.following
                        await self._programs.confirm(key, confirmed)
                elif frame.kind is FrameKind.END and _code_of(frame.content) not in _PACKED:
                    raise Unavailable("The folder could not be packed.")

    async def unpack(self, folder: str, key: str, archive: AsyncIterator[bytes]) -> None:
        argv = ("tar", "-C", folder, "--no-same-owner", "-xf", "-")
        await self._programs.start(key, contract.Program(argv=argv, stdin=True))
        async with self._until_left(key):
            try:
                await self._programs.feed(key, archive)
            except SignalboxError as error:
                if error.code not in ("input_closed", "process_ended"):
                    raise  # else it has had enough, and says why
            said, code = b"", None
            async for frame in self._programs.frames(key):
                if frame.kind is FrameKind.STDERR:
                    said = (said + frame.content)[:_SAID]
                elif frame.kind is FrameKind.END:
                    code = _code_of(frame.content)
            if code != 0:
                raise BadArchive(said.decode(errors="replace").strip() or None)

    @asynccontextmanager
    async def _until_left(self, key: str) -> AsyncIterator[None]:
        """It ends with whoever asked for it."""
        try:
            yield
        finally:
            with suppress(SignalboxError, httpx.TransportError):
                await self._programs.end(key)


def _code_of(end: bytes) -> int | None:
    code: int | None = json.loads(end).get("exitCode")
    return code
