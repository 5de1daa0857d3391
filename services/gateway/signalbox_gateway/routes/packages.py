"""What skills carry."""

import hashlib
import uuid
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.responses import Response

from signalbox_common.contracts import catalog as contract
from signalbox_common.errors import Invalid, SignalboxError
from signalbox_gateway.routes.common import IdempotencyKey, errors, passed_on
from signalbox_gateway.routes.kinds import SomewhereHere

routes = APIRouter(prefix="/api/v1/kinds/skills", tags=["catalog"])

ZIP = "application/zip"
TAKEN = (ZIP, "application/x-zip-compressed", "application/octet-stream")
_BODY = {
    "requestBody": {
        "required": True,
        "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}},
    }
}
_DOWNLOAD: dict[int | str, dict[str, Any]] = {
    200: {"content": {ZIP: {}}, "description": "The ZIP, as it came."}
}
NameHere = Annotated[contract.ResourceName, Path()]


@routes.put(
    "/{name}/package",
    response_model=contract.Resource,
    responses=errors(400, 401, 403, 404, 413, 415, 422, 503, 504),
    openapi_extra=_BODY,
)
async def put_package(
    name: NameHere,
    request: Request,
    here: SomewhereHere,
    _key: IdempotencyKey = None,
) -> Response:
    """A ZIP with a `SKILL.md`, at most 10 MiB; makes the skill where there is none of that name."""
    clients = here.clients
    grant = await clients.identity.grant(
        here.asker, "catalog", here.namespace, purpose=contract.AttachPackage.verb()
    )
    if grant.role is None or not grant.role.includes(contract.AttachPackage.least_role):
        # Nothing is taken in for them; the catalog says no, and writes it down.
        ask = contract.AttachPackage(name=name, object=SecretStr("0" * 32))
        return passed_on(await clients.ask(request, ask, here.asker, project=grant.project))
    media = request.headers.get("content-type", ZIP).partition(";")[0].strip().lower()
    if media not in TAKEN:
        raise HTTPException(415)
    body = await request.body()
    if not body:
        raise Invalid("There is no package in this request.", code="bad_zip")
    stored_as = uuid.uuid4().hex
    await clients.packages.put(stored_as, body)
    ask = contract.AttachPackage(name=name, object=SecretStr(stored_as))
    try:
        return passed_on(await clients.ask(request, ask, here.asker, project=grant.project))
    except SignalboxError as error:
        if error.final:
            with suppress(SignalboxError):  # it is cleared away later then
                await clients.packages.delete(stored_as)
        raise


@routes.get(
    "/{name}/package",
    response_class=Response,
    responses=_DOWNLOAD | errors(401, 403, 404, 422, 503),
)
async def get_package(name: NameHere, here: SomewhereHere) -> Response:
    info = (await here.query(contract.GetPackage(name=name))).value()
    content = await here.clients.packages.get(info.object)
    if hashlib.sha256(content).hexdigest() != info.sha256:
        raise SignalboxError("The package is not what it was.", code="package_damaged")
    headers = {
        "Content-Disposition": f'attachment; filename="{_file_name(name)}.zip"',
        "ETag": f'"{info.sha256}"',
    }
    return Response(content, media_type=ZIP, headers=headers)


@routes.get(
    "/{name}/package/files",
    response_model=contract.PackageInfo,
    responses=errors(401, 403, 404, 422, 503),
)
async def list_package_files(name: NameHere, here: SomewhereHere) -> Response:
    """What is in it."""
    return passed_on(await here.query(contract.GetPackage(name=name, with_files=True)))


def _file_name(name: str) -> str:
    """Names from elsewhere may hold what a header may not."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)
