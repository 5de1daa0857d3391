"""What a sandbox has changed of its checkout, read while nothing in it runs."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from starlette.responses import Response, StreamingResponse

from signalbox_common import changesets
from signalbox_common.changesets import ChangesRefused
from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.base import FieldError
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.dataplane.frames import FrameKind, FrameReader
from signalbox_common.errors import BodyTooLarge, Unavailable
from signalbox_sandbox import changeset, errors
from signalbox_sandbox.data.desk import DataDesk, answered, fenced, json_of, pieces_of
from signalbox_sandbox.runtime.base import Runtime

_IN_MEMORY = 8 * 1024 * 1024
_LARGEST = changesets.LARGEST + 64 * 1024 * 1024
"""With headers and the manifest."""
_PIECE = 64 * 1024
_DELETE = ["xargs", "-0", "--no-run-if-empty", "rm", "-rf", "--"]
_UNPACK = ["tar", "--no-same-owner", "-xf", "-"]


class ChangeRoutes:
    def __init__(self, desk: DataDesk, runtime: Runtime) -> None:
        self._desk = desk
        self._runtime = runtime

    def register(self, server: DataServer) -> None:
        server.on(contract.FREEZE)(self._freeze)
        server.on(contract.THAW)(self._thaw)
        server.on(contract.READ_CHANGES)(self._changes)
        server.on(contract.WRITE_CHANGES)(self._lay)

    async def _freeze(self, request: DataRequest) -> Response:
        """Programs are ended in any case: nothing here holds them so that none goes on."""
        sandbox = await self._desk.sandbox(request)
        await json_of(request, contract.Freeze)
        async with self._desk.asking(sandbox):
            await self._runtime.ask(sandbox, "freeze", **fenced(request))
        return answered(contract.Frozen(killed=True))

    async def _thaw(self, request: DataRequest) -> Response:
        sandbox = await self._desk.sandbox(request)
        async with self._desk.asking(sandbox):
            await self._runtime.ask(sandbox, "thaw", **fenced(request))
        return Response(status_code=204)

    async def _changes(self, request: DataRequest) -> Response:
        sandbox = await self._desk.sandbox(request)
        base = await self._desk.base_of(sandbox)
        spooled = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed with the response
        try:
            async with self._desk.asking(sandbox), self._runtime.changes(sandbox) as changes:
                found = changeset.select(await changes.entries())
                async with aclosing(changes.contents(found.files)) as contents:
                    digests = await changeset.spool(contents, len(found.files), spooled)
        except BaseException as error:
            spooled.close()
            if isinstance(error, changeset.TooLarge):
                raise _too_large(error) from error
            if isinstance(error, changeset.Incomplete):
                raise Unavailable("The changes could not be read to their end.") from error
            raise
        return StreamingResponse(_told(found, base, digests, spooled), media_type="application/x-tar")

    async def _lay(self, request: DataRequest) -> Response:
        """Makes the workspace as it was when they were read; done twice, it is the same."""
        sandbox = await self._desk.sandbox(request)
        with SpooledTemporaryFile(_IN_MEMORY) as spooled:
            await _take(request, spooled)
            try:
                changes = await asyncio.to_thread(changeset.arrived, spooled)
            except ChangesRefused as error:
                raise _refused(error) from error
            async with self._desk.asking(sandbox):
                deleted = b"\0".join(changeset.deleted(changes))
                await self._run(request, sandbox, _DELETE, iter([deleted]))
                await self._run(request, sandbox, _UNPACK, changeset.unpackable(changes))
        return Response(status_code=204)

    async def _run(
        self, request: DataRequest, sandbox: uuid.UUID, argv: list[str], given: Iterator[bytes]
    ) -> None:
        """A program of the sandbox, which may do there what any may."""
        key, fence = f"import-{uuid.uuid4()}", fenced(request)
        await self._runtime.ask(sandbox, "start", key=key, asked={"argv": argv, "stdin": True}, **fence)
        try:
            offset = 0
            for piece in given:
                for part in pieces_of(piece, _PIECE):
                    await self._runtime.write(sandbox, key, offset, part, **fence)
                    offset += len(part)
            await self._runtime.write(sandbox, key, offset, b"", close=True, **fence)
        except BaseException:
            await self._runtime.ask(sandbox, "end-process", key=key)
            raise
        reader, end = FrameReader(), dict[str, Any]()
        async with self._runtime.output(sandbox, key, 0, follow=True) as output:
            async for data in output:
                for frame in reader.feed(data):
                    if frame.kind is FrameKind.END:
                        end = json.loads(frame.content)
        if end.get("exitCode") != 0:
            raise errors.BadChanges("The changes could not be laid into the workspace.")


async def _take(request: DataRequest, spooled: IO[bytes]) -> None:
    size = 0
    async for chunk in request.body():
        size += len(chunk)
        if size > _LARGEST:
            raise BodyTooLarge
        spooled.write(chunk)


async def _told(
    found: changeset.Selection, base: str | None, digests: changeset.Digests, spooled: IO[bytes]
) -> AsyncIterator[bytes]:
    with spooled:
        for piece in changeset.packed(found, base, digests, spooled):
            yield piece


def _too_large(error: changeset.TooLarge) -> errors.ChangesTooLarge:
    return errors.ChangesTooLarge(
        errors=[
            FieldError(field=path.decode("utf-8", "replace"), message=f"{size} bytes", code="large")
            for path, size in error.largest
        ]
    )


def _refused(error: ChangesRefused) -> errors.BadChanges | errors.ChangesTooLarge:
    if error.code == errors.ChangesTooLarge.code:
        return errors.ChangesTooLarge(str(error))
    return errors.BadChanges(str(error))
