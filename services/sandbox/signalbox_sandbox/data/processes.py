"""Programs of a sandbox, straight from and to its keeper."""

from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import sandbox as contract
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_sandbox.data.desk import DataDesk, answered, closing, fenced, json_of, pieces_of
from signalbox_sandbox.runtime.base import Runtime

_PIECE = 64 * 1024
"""Bytes of input that a keeper is given at a time."""
_KILL = 9


class ProcessRoutes:
    def __init__(self, desk: DataDesk, runtime: Runtime) -> None:
        self._desk = desk
        self._runtime = runtime

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
        program = await json_of(request, contract.Program)
        asked = program.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"user"})
        return answered(_process(await self._ask(request, "start", asked=asked)))

    async def _list(self, request: DataRequest) -> Response:
        found = await self._ask(request, "processes")
        return answered(contract.ProcessList(items=tuple(map(_process, found["processes"]))))

    async def _get(self, request: DataRequest) -> Response:
        return answered(_process(await self._ask(request, "process")))

    async def _output(self, request: DataRequest) -> Response:
        sandbox = await self._desk.sandbox(request)
        offset, follow = request.offset(), request.query.get("follow", "true") != "false"
        opening = self._runtime.output(sandbox, request.path["key"], offset, follow=follow)
        async with AsyncExitStack() as stack:
            async with self._desk.asking(sandbox):
                frames = await stack.enter_async_context(opening)
            return StreamingResponse(closing(frames, stack.pop_all()), media_type="application/octet-stream")

    async def _confirm(self, request: DataRequest) -> Response:
        wanted = await json_of(request, contract.ConfirmOutput)
        said = await self._ask(request, "confirm", offset=wanted.offset)
        return answered(contract.OutputConfirmed(confirmed=said["confirmed"]))

    async def _input(self, request: DataRequest) -> Response:
        """From an offset on: what it has already is left out. `close` is the end of it."""
        sandbox, key = await self._desk.sandbox(request), request.path["key"]
        offset, close = request.offset(), request.query.get("close") == "true"
        taken: int | None = None
        async with self._desk.asking(sandbox):
            async for chunk in request.body():
                for piece in pieces_of(chunk, _PIECE):
                    taken = await self._runtime.write(sandbox, key, offset, piece, **fenced(request))
                    offset += len(piece)
            if close or taken is None:
                taken = await self._runtime.write(sandbox, key, offset, b"", close=close, **fenced(request))
        return answered(contract.InputTaken(taken=taken))

    async def _signal(self, request: DataRequest) -> Response:
        wanted = await json_of(request, contract.SignalProcess)
        if wanted.tree and wanted.signal == _KILL:
            await self._ask(request, "end-process")
        else:
            await self._ask(request, "signal", signal=wanted.signal)
        return Response(status_code=204)

    async def _resize(self, request: DataRequest) -> Response:
        size = await json_of(request, contract.Terminal)
        await self._ask(request, "resize", rows=size.rows, cols=size.cols)
        return Response(status_code=204)

    async def _ask(self, request: DataRequest, do: str, **more: Any) -> dict[str, Any]:
        sandbox = await self._desk.sandbox(request)
        if "key" in request.path:
            more["key"] = request.path["key"]
        async with self._desk.asking(sandbox):
            return await self._runtime.ask(sandbox, do, **more, **fenced(request))


def _process(said: dict[str, Any]) -> contract.Process:
    return contract.Process.model_validate(said)
