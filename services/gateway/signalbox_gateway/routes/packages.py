"""What skills carry."""

import hashlib
import uuid
from contextlib import suppress
from typing import Annotated

from fastapi import Path, Request
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.responses import Response

from signalbox_common.bus.objects import ObjectNotFound
from signalbox_common.contracts import catalog as contract
from signalbox_common.errors import SignalboxError
from signalbox_gateway.errors import PackageDamaged, PackageMissing
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.here import InNamespace
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/kinds/skills", "catalog")

ZIP = "application/zip"
TAKEN = (ZIP, "application/x-zip-compressed", "application/octet-stream")
_BODY = {"required": True, "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}}
_DOWNLOAD: Responses = {200: {"content": {ZIP: {}}, "description": "The ZIP, as it came."}}
NameHere = Annotated[contract.ResourceName, Path()]


@routes.on(
    "PUT",
    "/{name}/package",
    contract.AttachPackage,
    takes="anything",
    max_body=contract.MAX_PACKAGE,
    body=_BODY,
    also=[(422, "bad_zip")],
)
async def put_package(name: NameHere, request: Request, here: InNamespace) -> Response:
    """A ZIP with a `SKILL.md`, at most 10 MiB; makes the skill where there is none of that name."""
    packages = here.clients.packages
    role = (await here.grant(contract.AttachPackage)).role
    if role is None or not role.includes(contract.AttachPackage.least_role):
        # Nothing is taken in for them; the catalog says no, and writes it down.
        return await here.send(contract.AttachPackage(name=name, object=SecretStr("0" * 32)))
    media = request.headers.get("content-type", ZIP).partition(";")[0].strip().lower()
    if media not in TAKEN:
        raise HTTPException(415)
    body = await request.body()
    if not body:
        raise PackageMissing
    stored_as = uuid.uuid4().hex
    await packages.put(stored_as, body)
    try:
        return await here.send(contract.AttachPackage(name=name, object=SecretStr(stored_as)))
    except SignalboxError as error:
        if error.final:
            with suppress(SignalboxError):  # it is cleared away later then
                await packages.delete(stored_as)
        raise


@routes.on("GET", "/{name}/package", contract.GetPackage, shows=_DOWNLOAD, response_class=Response)
async def get_package(name: NameHere, here: InNamespace) -> Response:
    info = await here.value(contract.GetPackage(name=name))
    try:
        content = await here.clients.packages.get(info.object)
    except ObjectNotFound:  # it was replaced in between
        info = await here.value(contract.GetPackage(name=name))
        content = await here.clients.packages.get(info.object)
    if hashlib.sha256(content).hexdigest() != info.sha256:
        raise PackageDamaged
    headers = {
        "Content-Disposition": f'attachment; filename="{_file_name(name)}.zip"',
        "ETag": f'"{info.sha256}"',
    }
    return Response(content, media_type=ZIP, headers=headers)


@routes.on("GET", "/{name}/package/files", contract.GetPackage)
async def list_package_files(name: NameHere, here: InNamespace) -> Response:
    """What is in it."""
    return await here.send(contract.GetPackage(name=name, with_files=True))


def _file_name(name: str) -> str:
    """Names from elsewhere may hold what a header may not."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)
