"""Files of a sandbox: read and written as one of its programs would, so a path leads nowhere else."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import Response, StreamingResponse

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.base import FieldError
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_common.errors import Invalid, Unavailable
from signalbox_sandbox import errors
from signalbox_sandbox.data.desk import DataDesk, answered, closing, fenced, json_of
from signalbox_sandbox.runtime.base import Runtime

_MODE = 0o777
_LONGEST_PATH = 4000
_DEEPEST = 64


class FileRoutes:
    def __init__(self, desk: DataDesk, runtime: Runtime) -> None:
        self._desk = desk
        self._runtime = runtime

    def register(self, server: DataServer) -> None:
        server.on(contract.READ_FILE)(self._read)
        server.on(contract.WRITE_FILE)(self._write)
        server.on(contract.REMOVE_FILE)(self._remove)
        server.on(contract.LIST_FILES)(self._list)
        server.on(contract.STAT_FILE)(self._stat)
        server.on(contract.MAKE_FOLDER)(self._make_folder)
        server.on(contract.MOVE_FILE)(self._move)

    async def _read(self, request: DataRequest) -> Response:
        sandbox, path, offset = await self._desk.sandbox(request), _path(request), request.offset()
        async with AsyncExitStack() as stack:
            async with self._desk.asking(sandbox, errors.OF_FILES):
                files = await stack.enter_async_context(self._runtime.files(sandbox))
                found = await files.ask("read", path=path, **{"from": offset})
            return StreamingResponse(
                closing(files.rest(), stack.pop_all()),
                media_type="application/octet-stream",
                headers={"Content-Length": str(found["left"])},
            )

    async def _write(self, request: DataRequest) -> Response:
        """Whole, or not at all: who sends it is gone before its end, and nothing has changed."""
        sandbox, path = await self._desk.sandbox(request), _path(request)
        more: dict[str, Any] = {"parents": request.query.get("parents") == "true"}
        if (mode := request.query.get("mode")) is not None:
            more["mode"] = _mode(mode)
        async with (
            self._desk.asking(sandbox, errors.OF_FILES),
            self._runtime.files(sandbox, **fenced(request)) as files,
        ):
            await files.ask("write", path=path, **more)
            async for chunk in request.body():
                await files.send(chunk)
            await files.send(b"")
            await files.done()
        return Response(status_code=204)

    async def _remove(self, request: DataRequest) -> Response:
        recursive = request.query.get("recursive") == "true"
        await self._ask(request, "remove", path=_path(request), recursive=recursive)
        return Response(status_code=204)

    async def _stat(self, request: DataRequest) -> Response:
        return answered(_entry(await self._ask(request, "stat", path=_path(request))))

    async def _list(self, request: DataRequest) -> Response:
        sandbox, path = await self._desk.sandbox(request), _path(request)
        depth = request.query.get("depth", "1")
        if not depth.isdecimal() or not 1 <= int(depth) <= _DEEPEST:
            raise Invalid(f"depth is a number from 1 to {_DEEPEST}.")
        async with (
            self._desk.asking(sandbox, errors.OF_FILES),
            self._runtime.files(sandbox) as files,
        ):
            entries = [await files.ask("list", path=path, depth=int(depth))]
            entries += [json.loads(line) async for line in _lines(files.rest())]
        *found, end = entries
        if not end.get("end"):
            raise Unavailable("The list has no end.")
        return answered(contract.FileList(items=tuple(map(_entry, found)), complete=end["complete"]))

    async def _make_folder(self, request: DataRequest) -> Response:
        wanted = await json_of(request, contract.NewFolder)
        await self._ask(request, "make-folder", path=wanted.path, parents=wanted.parents)
        return Response(status_code=204)

    async def _move(self, request: DataRequest) -> Response:
        wanted = await json_of(request, contract.MoveFile)
        await self._ask(request, "move", path=wanted.path, to=wanted.to, replace=wanted.replace)
        return Response(status_code=204)

    async def _ask(self, request: DataRequest, do: str, **more: Any) -> dict[str, Any]:
        sandbox = await self._desk.sandbox(request)
        async with (
            self._desk.asking(sandbox, errors.OF_FILES),
            self._runtime.files(sandbox, **fenced(request)) as files,
        ):
            return await files.ask(do, **more)


def _path(request: DataRequest) -> str:
    path = request.query.get("path", "")
    if not path or len(path) > _LONGEST_PATH or "\0" in path:
        raise errors.BadPath(errors=[FieldError(field="path", message="is no path", code="bad_path")])
    return path


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= _MODE:
        raise Invalid("mode has three octal digits.")
    return mode


def _entry(said: dict[str, Any]) -> contract.FileEntry:
    """Names are bytes; what is no text is told as such."""
    for name in ("path", "target"):
        raw = said.get(name, "").encode("utf-8", "surrogateescape")
        shown = raw.decode("utf-8", "replace")
        if name in said and shown != said[name]:
            said = said | {name: shown}
            if name == "path":
                said |= {"pathBase64": base64.b64encode(raw).decode()}
    return contract.FileEntry.model_validate(said)


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
