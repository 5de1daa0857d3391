"""The data plane: programs of a sandbox, straight from and to its keeper."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.base import Reply
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.db import Database
from signalbox_common.errors import BodyTooLarge, invalid
from signalbox_sandbox import errors, store
from signalbox_sandbox.runtime.base import Runtime, RuntimeAway, RuntimeRefused, SandboxGone
from signalbox_sandbox.service import check_reachable

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

_MAX_JSON = 256 * 1024
_PIECE = 64 * 1024
"""Bytes of input that a keeper is given at a time."""
_KILL = 9
_KNOWN = 10_000
"""Sandboxes of which it is remembered whose they are: that never changes."""


class ProcessRoutes:
    def __init__(self, database: Database, runtime: Runtime) -> None:
        self._database = database
        self._runtime = runtime
        self._projects: dict[uuid.UUID, uuid.UUID] = {}

    def register(self, server: DataServer) -> None:
        server.on(contract.START_PROCESS)(self._start)
        server.on(contract.LIST_PROCESSES)(self._list)
        server.on(contract.GET_PROCESS)(self._get)
        server.on(contract.READ_OUTPUT)(self._output)
        server.on(contract.CONFIRM_OUTPUT)(self._confirm)
        server.on(contract.WRITE_INPUT)(self._input)
        server.on(contract.SIGNAL_PROCESS)(self._signal)
        server.on(contract.RESIZE_TERMINAL)(self._resize)

    async def _start(self, request: DataRequest) -> Response:
        sandbox, key = await self._sandbox(request), request.path["key"]
        program = await _read(request, contract.Program)
        asked = program.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"user"})
        return _reply(_process(await self._ask(request, sandbox, "start", key=key, asked=asked)))

    async def _list(self, request: DataRequest) -> Response:
        sandbox = await self._sandbox(request)
        found = await self._ask(request, sandbox, "processes")
        return _reply(contract.ProcessList(items=tuple(map(_process, found["processes"]))))

    async def _get(self, request: DataRequest) -> Response:
        sandbox, key = await self._sandbox(request), request.path["key"]
        return _reply(_process(await self._ask(request, sandbox, "process", key=key)))

    async def _output(self, request: DataRequest) -> Response:
        sandbox, key = await self._sandbox(request), request.path["key"]
        offset, follow = request.offset(), request.query.get("follow", "true") != "false"
        async with AsyncExitStack() as stack:
            opening = self._runtime.output(sandbox, key, offset, follow=follow)
            frames = await self._told(sandbox, lambda: stack.enter_async_context(opening))
            return StreamingResponse(_closing(frames, stack.pop_all()), media_type="application/octet-stream")

    async def _confirm(self, request: DataRequest) -> Response:
        sandbox, key = await self._sandbox(request), request.path["key"]
        wanted = await _read(request, contract.ConfirmOutput)
        said = await self._ask(request, sandbox, "confirm", key=key, offset=wanted.offset)
        return _reply(contract.OutputConfirmed(confirmed=said["confirmed"]))

    async def _input(self, request: DataRequest) -> Response:
        """From an offset on: what it has already is left out. `close` is the end of it."""
        sandbox, key = await self._sandbox(request), request.path["key"]
        offset, taken = request.offset(), 0
        fence = {"fence": request.fence} if request.fence is not None else {}

        async def write(data: bytes, *, close: bool = False) -> int:
            at = offset
            return await self._told(
                sandbox, lambda: self._runtime.write(sandbox, key, at, data, close=close, **fence)
            )

        async for chunk in request.body():
            for begin in range(0, len(chunk), _PIECE):
                piece = chunk[begin : begin + _PIECE]
                taken = await write(piece)
                offset += len(piece)
        if request.query.get("close") == "true" or not taken:
            taken = await write(b"", close=request.query.get("close") == "true")
        return _reply(contract.InputTaken(taken=taken))

    async def _signal(self, request: DataRequest) -> Response:
        sandbox, key = await self._sandbox(request), request.path["key"]
        wanted = await _read(request, contract.SignalProcess)
        if wanted.tree and wanted.signal == _KILL:
            await self._ask(request, sandbox, "end-process", key=key)
        else:
            await self._ask(request, sandbox, "signal", key=key, signal=wanted.signal)
        return Response(status_code=204)

    async def _resize(self, request: DataRequest) -> Response:
        sandbox, key = await self._sandbox(request), request.path["key"]
        size = await _read(request, contract.Terminal)
        await self._ask(request, sandbox, "resize", key=key, rows=size.rows, cols=size.cols)
        return Response(status_code=204)

    # -- who, and what comes of it -------------------------------------------------------------------------

    async def _sandbox(self, request: DataRequest) -> uuid.UUID:
        """Another project's is answered like one that is not there."""
        try:
            sandbox = uuid.UUID(request.path["sandbox"])
        except ValueError:
            raise errors.SandboxNotFound from None
        if sandbox not in self._projects:
            async with self._database.reading() as connection:
                found = await store.find(connection, sandbox)
            if found is None:
                raise errors.SandboxNotFound
            if len(self._projects) >= _KNOWN:
                self._projects.clear()
            self._projects[sandbox] = found.project_id
        if self._projects[sandbox] != request.principal.project():
            raise errors.SandboxNotFound
        return sandbox

    async def _ask(self, request: DataRequest, sandbox: uuid.UUID, do: str, **more: Any) -> dict[str, Any]:
        if request.fence is not None:
            more["fence"] = request.fence
        return await self._told(sandbox, lambda: self._runtime.ask(sandbox, do, **more))

    async def _told(self, sandbox: uuid.UUID, do: Callable[[], Awaitable[T]]) -> T:
        """With the words of our own for what a keeper refuses."""
        try:
            return await do()
        except RuntimeRefused as error:
            raise errors.OF_KEEPER.get(error.code, errors.NodeAway)(error.detail) from error
        except (SandboxGone, RuntimeAway) as error:
            async with self._database.reading() as connection:
                found = await store.find(connection, sandbox)
            if found is None:
                raise errors.SandboxNotFound from error
            check_reachable(found)
            raise errors.NodeAway from error


async def _read(request: DataRequest, model: type[M]) -> M:
    raw = bytearray()
    async for chunk in request.body():
        raw += chunk
        if len(raw) > _MAX_JSON:
            raise BodyTooLarge
    try:
        return model.model_validate_json(bytes(raw) or b"{}")
    except ValidationError as error:
        raise invalid(error) from error


def _reply(reply: Reply) -> Response:
    return Response(reply.encode(), media_type="application/json")


def _process(said: dict[str, Any]) -> contract.Process:
    return contract.Process.model_validate(said)


async def _closing(chunks: AsyncIterator[bytes], stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        async for chunk in chunks:
            yield chunk
