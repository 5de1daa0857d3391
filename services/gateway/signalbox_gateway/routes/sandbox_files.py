"""Files of sandboxes."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.base import GrantScope, Message
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.dataplane import DataClient
from signalbox_gateway.archives import Archives
from signalbox_gateway.bytes_proxy import Place, StreamedBody
from signalbox_gateway.errors import NotAFolder
from signalbox_gateway.programs import Programs
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.at_sandbox import OF_SANDBOX, AtSandbox, client_at, location_of, project_of
from signalbox_gateway.routes.here import Sender
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/sandboxes/{sandbox_id}/files", "sandboxes")

MAX_FILE = 1024 * 1024 * 1024
_ANYTHING: dict[str, Any] = {"takes": "anything", "max_body": MAX_FILE}
_BYTES: Responses = {
    200: {
        "description": "The bytes.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_PATHS = (
    (404, "file_not_found"),
    (403, "file_forbidden"),
    (409, "not_a_file"),
    (409, "not_a_folder"),
    (422, "bad_path"),
)
_OF_FILE: dict[str, Any] = {"grant": GrantScope.PROJECT, "also": [*OF_SANDBOX, *_PATHS]}
_CHANGED: dict[str, Any] = {
    "grant": GrantScope.PROJECT,
    "status": 204,
    "also": [*OF_SANDBOX, *_PATHS, (409, "file_exists"), (409, "folder_not_empty")],
}
_WRITTEN: dict[str, Any] = _CHANGED | {
    "also": [*_CHANGED["also"], (409, "file_too_large"), (409, "sandbox_full"), (507, "disk_full")],
    "body": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
}
PathHere = Annotated[
    str, Query(alias="path", min_length=1, max_length=4000, description="From /workspace on, or with a /.")
]


async def _told(here: Sender, sandbox: uuid.UUID, route: DataRoute, **names: str) -> Response:
    async with client_at(here, sandbox, contract.FILES) as client:
        found = b"".join([chunk async for chunk in client.read(route, sandbox=str(sandbox), **names)])
    return Response(found, media_type="application/json")


async def _done(
    here: Sender, sandbox: uuid.UUID, route: DataRoute, body: Message | None = None, **names: str
) -> Response:
    async with client_at(here, sandbox, contract.FILES) as client:
        await client.pass_on(route, _body(body), sandbox=str(sandbox), **names)
    return Response(status_code=204)


async def _body(message: Message | None) -> AsyncIterator[bytes]:
    if message is not None:
        yield message.encode()


@routes.on("GET", "", response_class=Response, shows=_BYTES, **_OF_FILE)
async def read_file(
    here: AtSandbox,
    sandbox_id: uuid.UUID,
    path: PathHere,
    offset: Annotated[int, Query(alias="from", ge=0)] = 0,
) -> Response:
    """A file, as it is at the moment."""
    location = await location_of(here, sandbox_id)
    names = {"sandbox": str(sandbox_id), "path": path}
    place = Place(contract.READ_FILE, location.url, project_of(here), names)
    return await here.clients.bytes.download(here.someone, place, offset)


@routes.on("PUT", "", **_ANYTHING, **_WRITTEN)
async def write_file(
    request: Request,
    here: AtSandbox,
    sandbox_id: uuid.UUID,
    path: PathHere,
    mode: Annotated[str | None, Query(pattern="^[0-7]{3,4}$")] = None,
    parents: Annotated[bool, Query(description="Also the folders that it lies in.")] = False,
) -> Response:
    """Puts a file in place of what is there: whole, or not at all."""
    names = {"path": path} | ({"mode": mode} if mode else {}) | ({"parents": "true"} if parents else {})
    async with client_at(here, sandbox_id, contract.FILES) as client:
        await client.pass_on(contract.WRITE_FILE, request.stream(), sandbox=str(sandbox_id), **names)
    return Response(status_code=204)


@routes.on("DELETE", "", **_CHANGED)
async def remove_file(
    here: AtSandbox,
    sandbox_id: uuid.UUID,
    path: PathHere,
    recursive: bool = False,
) -> Response:
    """A file, or a folder: one that is not empty only with `recursive`."""
    how = str(recursive).lower()
    return await _done(here, sandbox_id, contract.REMOVE_FILE, path=path, recursive=how)


@routes.on("GET", "/list", reply=contract.FileList, **_OF_FILE)
async def list_files(
    here: AtSandbox,
    sandbox_id: uuid.UUID,
    path: PathHere = ".",
    depth: Annotated[int, Query(ge=1, le=64)] = 1,
) -> Response:
    """What lies in a folder, down to a depth; links are told, and not followed."""
    return await _told(here, sandbox_id, contract.LIST_FILES, path=path, depth=str(depth))


@routes.on("GET", "/stat", reply=contract.FileEntry, **_OF_FILE)
async def stat_file(here: AtSandbox, sandbox_id: uuid.UUID, path: PathHere) -> Response:
    """What a file is; of a link, the link itself."""
    return await _told(here, sandbox_id, contract.STAT_FILE, path=path)


@routes.on("POST", "/mkdir", **_CHANGED | {"also": [*_CHANGED["also"], (409, "sandbox_full")]})
async def make_folder(here: AtSandbox, sandbox_id: uuid.UUID, body: contract.NewFolder) -> Response:
    return await _done(here, sandbox_id, contract.MAKE_FOLDER, body)


@routes.on("POST", "/move", **_CHANGED)
async def move_file(here: AtSandbox, sandbox_id: uuid.UUID, body: contract.MoveFile) -> Response:
    """To another name; with `replace`, also where there is something already."""
    return await _done(here, sandbox_id, contract.MOVE_FILE, body)


@routes.on("GET", "/archive", response_class=Response, shows=_BYTES, **_OF_FILE)
async def download_folder(here: AtSandbox, sandbox_id: uuid.UUID, path: PathHere = ".") -> Response:
    """A folder as a tar; a program of the sandbox packs it, so it is for those who may run some."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(client_at(here, sandbox_id, contract.FILES))
        await _check_folder(client, sandbox_id, path)
        archives = Archives(Programs(client, str(sandbox_id)))
        packed = await archives.pack(path, f"archive-{uuid.uuid4()}")
        stack.push_async_callback(packed.aclose)
        headers = {"Content-Encoding": "identity", "Content-Disposition": "attachment"}
        return StreamedBody(here.someone, packed, stack.pop_all().aclose, "application/x-tar", headers)


@routes.on("PUT", "/archive", **_ANYTHING, **_WRITTEN | {"also": [*_WRITTEN["also"], (422, "bad_archive")]})
async def upload_folder(
    request: Request, here: AtSandbox, sandbox_id: uuid.UUID, path: PathHere = "."
) -> Response:
    """Unpacks a tar into a folder."""
    async with client_at(here, sandbox_id, contract.FILES) as client:
        await _check_folder(client, sandbox_id, path)
        archives = Archives(Programs(client, str(sandbox_id)))
        await archives.unpack(path, f"archive-{uuid.uuid4()}", request.stream())
    return Response(status_code=204)


async def _check_folder(client: DataClient, sandbox: uuid.UUID, path: str) -> None:
    """Before anything is sent, or taken."""
    asked = client.read(contract.STAT_FILE, sandbox=str(sandbox), path=f"{path.rstrip('/')}/.")
    found = contract.FileEntry.model_validate_json(b"".join([chunk async for chunk in asked]))
    if found.type is not contract.FileType.FOLDER:
        raise NotAFolder
