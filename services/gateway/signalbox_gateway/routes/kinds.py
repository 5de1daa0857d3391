"""Resources of every kind."""

from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from starlette.responses import JSONResponse, Response

from signalbox_common.bus import Answer
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.auth import Namespace
from signalbox_common.contracts.base import Ask, Command, Reply
from signalbox_common.contracts.base import Query as MessageQuery
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.errors import Invalid
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.live.resource_watch import WatchOptions, watch_resources
from signalbox_gateway.routes.common import (
    NO_CONTENT,
    ClientsHere,
    IdempotencyKey,
    MergePatchRoute,
    errors,
    passed_on,
)
from signalbox_gateway.routes.operations import ACCEPTED

routes = APIRouter(prefix="/api/v1/kinds", tags=["catalog"], route_class=MergePatchRoute)

R = TypeVar("R", bound=Reply)

HOME = "default"
EVENT_STREAM = "text/event-stream"

PluralHere = Annotated[
    contract.Plural, Path(description="`bots`, `teams`, …: `GET /api/v1/kinds` lists them.")
]
NameHere = Annotated[contract.ResourceName, Path()]
NamespaceHere = Annotated[
    Namespace, Query(description="The slug of a project; `default` is the asker's personal one.")
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        max_length=100,
        description="The `ETag` (the `resourceVersion`) that the change is meant for; else 409.",
    ),
]


class Somewhere:
    """Who asks, and in which namespace."""

    def __init__(
        self, asker: CurrentAsker, clients: ClientsHere, request: Request, namespace: NamespaceHere = HOME
    ) -> None:
        self.asker = asker
        self.clients = clients
        self.request = request
        self.namespace = namespace

    async def query(self, query: MessageQuery[R]) -> Answer[R]:
        project = await self.clients.place(self.asker, "catalog", self.namespace, type(query))
        return await self.clients.query(self.asker, query, project=project)

    async def ask(self, ask: Ask[R], body: dict[str, Any]) -> Answer[R]:
        """Where body and query both name a namespace, the body's counts."""
        project = await self.clients.place(
            self.asker, "catalog", _named_by(body) or self.namespace, type(ask)
        )
        return await self.clients.ask(self.request, ask, self.asker, project=project)

    async def command(self, command: Command[R], status: int) -> Response:
        project = await self.clients.place(self.asker, "catalog", self.namespace, type(command))
        return await self.clients.command(self.request, self.asker, command, status=status, project=project)


SomewhereHere = Annotated[Somewhere, Depends()]

_READ = errors(401, 403, 404, 422, 503)
_WRITTEN = errors(400, 401, 403, 404, 409, 413, 415, 422, 503, 504)
_COMMANDED = ACCEPTED | errors(401, 403, 404, 409, 422, 503)
_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "Nothing within has changed."}}
_WATCH: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page, or with `watch=true` a stream of changes.",
        "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
    }
}


@routes.get("", response_model=contract.Kinds, responses=errors(401, 403, 503))
async def list_kinds(asker: CurrentAsker, clients: ClientsHere) -> Response:
    """What kinds of resources there are."""
    return passed_on(await clients.query(asker, contract.ListKinds()))


@routes.get("/{plural}/schema", responses=errors(401, 403, 404, 422, 503))
async def get_schema(plural: PluralHere, asker: CurrentAsker, clients: ClientsHere) -> dict[str, Any]:
    """The JSON Schema of a kind's documents."""
    return (await clients.query(asker, contract.GetSchema(plural=plural))).value().json_schema


@routes.post("/{plural}", status_code=201, response_model=contract.Resource, responses=_WRITTEN)
async def create_resource(
    plural: PluralHere, body: contract.JsonDocument, here: SomewhereHere, _key: IdempotencyKey = None
) -> Response:
    """Makes one; `apiVersion` and `kind` may be left out. Keys in it go to the secret store."""
    answer = await here.ask(contract.CreateResource(plural=plural, manifest=body), body)
    made = answer.value().metadata
    response = _versioned(answer, 201)
    response.headers["Location"] = f"/api/v1/kinds/{plural}/{quote(made.name)}?namespace={made.namespace}"
    return response


@routes.get(
    "/{plural}",
    response_model=contract.ResourcePage,
    responses=_WATCH | errors(401, 403, 404, 410, 422, 503),
)
async def list_resources(
    plural: PluralHere,
    here: SomewhereHere,
    start: Annotated[WatchOptions, Depends()],
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[Cursor | None, Query()] = None,
    label_selector: Annotated[contract.LabelSelector | None, Query(alias="labelSelector")] = None,
    q: Annotated[Search | None, Query(description="A part of the name.")] = None,
    deleted: Annotated[bool, Query(description="Those that can be restored, instead.")] = False,
) -> Response:
    """By name. With `watch=true`, a stream of what changes from `resourceVersion` on instead."""
    query = contract.ListResources(
        plural=plural, limit=limit, cursor=cursor, label_selector=label_selector, q=q, deleted=deleted
    )
    if not start.watch:
        return passed_on(await here.query(query))
    if cursor is not None or q is not None or deleted:
        raise Invalid("A watch takes a labelSelector, and neither cursor, q nor deleted.")
    return await watch_resources(here.request, here.clients, here.asker, here.namespace, query, start)


@routes.get("/{plural}/{name}", response_model=contract.Resource, responses=_READ)
async def get_resource(plural: PluralHere, name: NameHere, here: SomewhereHere) -> Response:
    """Keys show as `***`."""
    return _versioned(await here.query(contract.GetResource(plural=plural, name=name)))


@routes.put("/{plural}/{name}", response_model=contract.Resource, responses=_WRITTEN)
async def replace_resource(
    plural: PluralHere,
    name: NameHere,
    body: contract.JsonDocument,
    here: SomewhereHere,
    if_match: IfMatch = None,
    _key: IdempotencyKey = None,
) -> Response:
    """What the body does not say is not there afterwards; `***` leaves a key as it is.

    With `metadata.resourceVersion` or `If-Match`, only if nobody else was faster.
    """
    version = _version_of(if_match)
    ask = contract.ReplaceResource(plural=plural, name=name, manifest=body, expected_version=version)
    return _versioned(await here.ask(ask, body))


@routes.patch("/{plural}/{name}", response_model=contract.Resource, responses=_WRITTEN)
async def patch_resource(
    plural: PluralHere,
    name: NameHere,
    body: contract.JsonDocument,
    here: SomewhereHere,
    if_match: IfMatch = None,
    _key: IdempotencyKey = None,
) -> Response:
    """A JSON merge patch (RFC 7396): what is null goes, what is not named stays."""
    version = _version_of(if_match)
    ask = contract.PatchResource(plural=plural, name=name, patch=body, expected_version=version)
    return _versioned(await here.ask(ask, body))


@routes.delete("/{plural}/{name}", status_code=204, responses=NO_CONTENT | _COMMANDED)
async def delete_resource(
    plural: PluralHere,
    name: NameHere,
    here: SomewhereHere,
    cascade: Annotated[bool, Query(description="Also deletes whatever refers to it.")] = False,
    if_match: IfMatch = None,
) -> Response:
    """Refused with 409 while others refer to it. Can be restored for 30 days, if not set otherwise."""
    version = _version_of(if_match)
    command = contract.DeleteResource(plural=plural, name=name, cascade=cascade, expected_version=version)
    return await here.command(command, 204)


@routes.post("/{plural}/{name}/restore", response_model=contract.Resource, responses=_COMMANDED)
async def restore_resource(
    plural: PluralHere, name: NameHere, here: SomewhereHere, _key: IdempotencyKey = None
) -> Response:
    """Brings back the one of that name that was deleted last; 409 where another one lives by now."""
    return await here.command(contract.RestoreResource(plural=plural, name=name), 200)


@routes.get("/{plural}/{name}/resolved", response_model=contract.Resolved, responses=_UNCHANGED | _READ)
async def resolve_resource(
    plural: PluralHere,
    name: NameHere,
    here: SomewhereHere,
    if_none_match: Annotated[str | None, Header(alias="If-None-Match", max_length=100)] = None,
) -> Response:
    """With everything that it refers to, and what that refers to in turn."""
    tree = (await here.query(contract.ResolveResource(plural=plural, name=name))).value()
    etag = {"ETag": f'"{tree.version}"'}
    if if_none_match is not None and if_none_match.strip().removeprefix("W/") == etag["ETag"]:
        return Response(status_code=304, headers=etag)
    return JSONResponse(tree.root.model_dump(mode="json", by_alias=True), headers=etag)


@routes.get("/{plural}/{name}/history", response_model=contract.GenerationPage, responses=_READ)
async def list_generations(
    plural: PluralHere,
    name: NameHere,
    here: SomewhereHere,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[Cursor | None, Query()] = None,
) -> Response:
    """Its generations, newest first: one for every change of the spec."""
    query = contract.ListGenerations(plural=plural, name=name, limit=limit, cursor=cursor)
    return passed_on(await here.query(query))


@routes.get(
    "/{plural}/{name}/history/{generation}", response_model=contract.GenerationDetail, responses=_READ
)
async def get_generation(
    plural: PluralHere,
    name: NameHere,
    generation: Annotated[int, Path(ge=1, le=2**53)],
    here: SomewhereHere,
    against: Annotated[
        int | None, Query(ge=1, le=2**53, description="What to compare it with; by default the one before.")
    ] = None,
) -> Response:
    """What it was then, and what that generation has changed."""
    query = contract.GetGeneration(plural=plural, name=name, generation=generation, against=against)
    return passed_on(await here.query(query))


@routes.post(
    "/{plural}/{name}/history/{generation}/rollback",
    response_model=contract.Resource,
    responses=_COMMANDED,
)
async def roll_back_resource(
    plural: PluralHere,
    name: NameHere,
    generation: Annotated[int, Path(ge=1, le=2**53)],
    here: SomewhereHere,
    if_match: IfMatch = None,
    _key: IdempotencyKey = None,
) -> Response:
    """The spec of that generation, keys included, becomes a new one."""
    version = _version_of(if_match)
    command = contract.RollBackResource(
        plural=plural, name=name, generation=generation, expected_version=version
    )
    return await here.command(command, 200)


def _named_by(body: dict[str, Any]) -> str | None:
    metadata = body.get("metadata")
    named = metadata.get("namespace") if isinstance(metadata, dict) else None
    if named is None or named == "":
        return None
    if not isinstance(named, str) or len(named) > 63:
        raise Invalid("metadata.namespace: A namespace is the slug of a project.", code="bad_namespace")
    return named


def _version_of(if_match: str | None) -> str | None:
    if if_match is None or if_match.strip() == "*":
        return None
    version = if_match.strip().removeprefix("W/").strip('"')
    if not (version.isascii() and version.isdecimal() and len(version) <= 20):
        raise Invalid("If-Match takes an ETag of this resource.", code="bad_etag")
    return version


def _versioned(answer: Answer[contract.Resource], status: int = 200) -> Response:
    response = passed_on(answer, status)
    response.headers["ETag"] = f'"{answer.value().metadata.resource_version}"'
    return response
