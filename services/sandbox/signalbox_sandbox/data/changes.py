"""What a sandbox has changed of its checkout, read while nothing in it runs."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from typing import IO

from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.base import FieldError
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.errors import Unavailable
from signalbox_sandbox import changeset, errors
from signalbox_sandbox.data.desk import DataDesk, answered, fenced, json_of
from signalbox_sandbox.runtime.base import Runtime

_IN_MEMORY = 8 * 1024 * 1024


class ChangeRoutes:
    def __init__(self, desk: DataDesk, runtime: Runtime) -> None:
        self._desk = desk
        self._runtime = runtime

    def register(self, server: DataServer) -> None:
        server.on(contract.FREEZE)(self._freeze)
        server.on(contract.THAW)(self._thaw)
        server.on(contract.READ_CHANGES)(self._changes)

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
