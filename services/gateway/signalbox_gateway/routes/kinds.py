"""Resources of every kind."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Header, Path, Query
from starlette.responses import JSONResponse, Response

from signalbox_common.bus import Answer
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.errors import Invalid
from signalbox_gateway import event_stream
from signalbox_gateway.errors import BadNamespace
from signalbox_gateway.live.resource_watch import WatchOptions, watch_resources
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.bodies import JSON, MERGE_PATCH
from signalbox_gateway.routes.here import Here, InNamespace, passed_on
from signalbox_gateway.routes.preconditions import BAD_ETAG, IfMatch, tagged, version_of
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/kinds", "catalog", takes=(JSON, MERGE_PATCH))

PluralHere = Annotated[
    contract.Plural, Path(description="`bots`, `teams`, …: `GET /api/v1/kinds` lists them.")
]
NameHere = Annotated[contract.ResourceName, Path()]
GenerationHere = Annotated[int, Path(ge=1, le=2**53)]

StrictHere = Annotated[bool, Query(description="Refuses unknown fields of the spec, instead of a warning.")]

_BAD_NAMESPACE = (422, "bad_namespace")
_UNCHANGED: Responses = {304: {"description": "Nothing within has changed."}}
_WATCH: Responses = {
    200: {
        "description": "A page, or with `watch=true` a stream of changes.",
        "content": {event_stream.MEDIA_TYPE: {"schema": {"type": "string"}}},
    }
}


@routes.on("GET", "", contract.ListKinds)
async def list_kinds(here: Here) -> Response:
    """What kinds of resources there are."""
    return await here.send(contract.ListKinds())


@routes.on("GET", "/{plural}/schema", contract.GetSchema, response_model=dict[str, Any])
async def get_schema(plural: PluralHere, here: Here) -> dict[str, Any]:
    """The JSON Schema of a kind's documents."""
    return (await here.value(contract.GetSchema(plural=plural))).json_schema


@routes.on("POST", "/{plural}", contract.CreateResource, status=201, also=[_BAD_NAMESPACE])
async def create_resource(
    plural: PluralHere, body: contract.JsonDocument, here: InNamespace, strict: StrictHere = False
) -> Response:
    """Makes one; `apiVersion` and `kind` may be left out. Keys in it go to the secret store."""
    ask = contract.CreateResource(plural=plural, manifest=body, strict=strict)
    answer = await here.answer(ask, place=_named_by(body))
    made = answer.value().metadata
    response = _versioned(answer, 201)
    response.headers["Location"] = f"/api/v1/kinds/{plural}/{quote(made.name)}?namespace={made.namespace}"
    return response


@routes.on(
    "GET",
    "/{plural}",
    contract.ListResources,
    contract.ListChanges,
    shows=_WATCH,
    also=[(422, "bad_version")],
)
async def list_resources(
    plural: PluralHere,
    here: InNamespace,
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
        return await here.send(query)
    if cursor is not None or q is not None or deleted:
        raise Invalid("A watch takes a labelSelector, and neither cursor, q nor deleted.")
    return await watch_resources(here.request, here.clients, here.someone, str(here.place), query, start)


@routes.on("GET", "/{plural}/{name}", contract.GetResource)
async def get_resource(plural: PluralHere, name: NameHere, here: InNamespace) -> Response:
    """Keys show as `***`."""
    return _versioned(await here.answer(contract.GetResource(plural=plural, name=name)))


@routes.on("PUT", "/{plural}/{name}", contract.ReplaceResource, also=[BAD_ETAG, _BAD_NAMESPACE])
async def replace_resource(
    plural: PluralHere,
    name: NameHere,
    body: contract.JsonDocument,
    here: InNamespace,
    if_match: IfMatch = None,
    strict: StrictHere = False,
) -> Response:
    """What the body does not say is not there afterwards; `***` leaves a key as it is.

    With `metadata.resourceVersion` or `If-Match`, only if nobody else was faster.
    """
    version = version_of(if_match)
    ask = contract.ReplaceResource(
        plural=plural, name=name, manifest=body, expected_version=version, strict=strict
    )
    return _versioned(await here.answer(ask, place=_named_by(body)))


@routes.on("PATCH", "/{plural}/{name}", contract.PatchResource, also=[BAD_ETAG, _BAD_NAMESPACE])
async def patch_resource(
    plural: PluralHere,
    name: NameHere,
    body: contract.JsonDocument,
    here: InNamespace,
    if_match: IfMatch = None,
    strict: StrictHere = False,
) -> Response:
    """A JSON merge patch (RFC 7396): what is null goes, what is not named stays."""
    version = version_of(if_match)
    ask = contract.PatchResource(
        plural=plural, name=name, patch=body, expected_version=version, strict=strict
    )
    return _versioned(await here.answer(ask, place=_named_by(body)))


@routes.on("DELETE", "/{plural}/{name}", contract.DeleteResource, also=[BAD_ETAG])
async def delete_resource(
    plural: PluralHere,
    name: NameHere,
    here: InNamespace,
    cascade: Annotated[bool, Query(description="Also deletes whatever refers to it in its project.")] = False,
    if_match: IfMatch = None,
) -> Response:
    """Refused with 409 while its project refers to it. Can be restored for 30 days, if not set otherwise."""
    version = version_of(if_match)
    return await here.send(
        contract.DeleteResource(plural=plural, name=name, cascade=cascade, expected_version=version)
    )


@routes.on("POST", "/{plural}/{name}/restore", contract.RestoreResource)
async def restore_resource(plural: PluralHere, name: NameHere, here: InNamespace) -> Response:
    """Brings back the one of that name that was deleted last; 409 where another one lives by now."""
    return await here.send(contract.RestoreResource(plural=plural, name=name))


@routes.on(
    "GET",
    "/{plural}/{name}/resolved",
    contract.ResolveResource,
    reply=contract.ResourceTree,
    shows=_UNCHANGED,
)
async def resolve_resource(
    plural: PluralHere,
    name: NameHere,
    here: InNamespace,
    if_none_match: Annotated[str | None, Header(alias="If-None-Match", max_length=100)] = None,
) -> Response:
    """With everything that it refers to, and what that refers to in turn."""
    tree = await here.value(contract.ResolveResource(plural=plural, name=name))
    etag = {"ETag": f'"{tree.version}"'}
    if if_none_match is not None and if_none_match.strip().removeprefix("W/") == etag["ETag"]:
        return Response(status_code=304, headers=etag)
    return JSONResponse(tree.root.model_dump(mode="json", by_alias=True), headers=etag)


@routes.on("GET", "/{plural}/{name}/history", contract.ListGenerations)
async def list_generations(
    plural: PluralHere,
    name: NameHere,
    here: InNamespace,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[Cursor | None, Query()] = None,
) -> Response:
    """Its generations, newest first: one for every change of the spec."""
    return await here.send(contract.ListGenerations(plural=plural, name=name, limit=limit, cursor=cursor))


@routes.on("GET", "/{plural}/{name}/history/{generation}", contract.GetGeneration)
async def get_generation(
    plural: PluralHere,
    name: NameHere,
    generation: GenerationHere,
    here: InNamespace,
    against: Annotated[
        int | None, Query(ge=1, le=2**53, description="What to compare it with; by default the one before.")
    ] = None,
) -> Response:
    """What it was then, and what that generation has changed."""
    return await here.send(
        contract.GetGeneration(plural=plural, name=name, generation=generation, against=against)
    )


@routes.on(
    "POST",
    "/{plural}/{name}/history/{generation}/rollback",
    contract.RollBackResource,
    also=[BAD_ETAG],
)
async def roll_back_resource(
    plural: PluralHere,
    name: NameHere,
    generation: GenerationHere,
    here: InNamespace,
    if_match: IfMatch = None,
) -> Response:
    """The spec of that generation, keys included, becomes a new one."""
    version = version_of(if_match)
    return await here.send(
        contract.RollBackResource(plural=plural, name=name, generation=generation, expected_version=version)
    )


def _named_by(body: dict[str, Any]) -> str | None:
    metadata = body.get("metadata")
    named = metadata.get("namespace") if isinstance(metadata, dict) else None
    if named is None or named == "":
        return None
    if not isinstance(named, str) or len(named) > 63:
        raise BadNamespace
    return named


def _versioned(answer: Answer[Any], status: int = 200) -> Response:
    return tagged(passed_on(answer, status), answer.value().metadata.resource_version)
