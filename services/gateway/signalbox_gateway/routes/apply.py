"""Many documents at once, as `kubectl apply` takes them."""

import asyncio
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated

from fastapi import Query, Request
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.responses import Response

from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts import git
from signalbox_common.contracts.auth import Namespace
from signalbox_common.errors import SignalboxError
from signalbox_gateway.errors import NotUtf8
from signalbox_gateway.routes import applied_archive, applied_tasks
from signalbox_gateway.routes.here import HOME, Here, NamespaceHere, Sender
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1", "catalog")

TAKEN = (
    "application/yaml",
    "application/json",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
    "text/plain",
    "application/octet-stream",
    "application/x-www-form-urlencoded",  # what curl says of --data-binary
)
ZIP = "application/zip"
DryRunHere = Annotated[bool, Query(alias="dryRun", description="Says what would change.")]
PruneHere = Annotated[
    bool, Query(description="Deletes what the selector finds and the documents do not have.")
]
SelectorHere = Annotated[contract.LabelSelector | None, Query(alias="labelSelector")]
IntoHere = Annotated[
    Namespace | None,
    Query(description="The slug of a project, for documents that name no namespace, or `default`."),
]
StrictHere = Annotated[bool, Query(description="Refuses unknown fields of a spec, too.")]
_BODY = {"required": True, "content": {media: {"schema": {"type": "string"}} for media in TAKEN[:2]}}


@routes.on(
    "POST",
    "/apply",
    contract.Apply,
    *applied_tasks.SENDS,
    git.GetRepository,
    response_model_exclude_none=True,
    takes="anything",
    max_body=contract.MAX_TEXT,
    body=_BODY,
    also=[(422, "not_utf8")],
)
async def apply(
    request: Request,
    here: Here,
    namespace: NamespaceHere = HOME,
    dry_run: DryRunHere = False,
    prune: PruneHere = False,
    label_selector: SelectorHere = None,
    into: IntoHere = None,
    strict: StrictHere = False,
) -> Response:
    """YAML or JSON, up to 1,000 documents and 1 MiB: all are applied, or none.

    A 4xx answer names document, line and field of everything that was wrong. Documents of other systems
    are skipped with a warning; tasks are created after the resources, each once however often it is applied.
    `namespace` is for documents that do not name one.
    """
    ask = contract.Apply(
        text=SecretStr(_text(await request.body(), request.headers.get("content-type"))),
        namespace=namespace,
        dry_run=dry_run,
        prune=prune,
        label_selector=label_selector,
        into=into,
        strict=strict,
    )
    await _check(ask)
    return await _with_tasks(here, ask, await here.value(ask))


@routes.on(
    "POST",
    "/apply/archive",
    contract.Apply,
    contract.AttachPackage,
    *applied_tasks.SENDS,
    git.GetRepository,
    response_model_exclude_none=True,
    takes="anything",
    max_body=contract.MAX_BUNDLE,
    body={"required": True, "content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}},
    also=[(422, "bad_apply_archive"), (422, "not_utf8")],
)
async def apply_archive(
    request: Request,
    here: Here,
    namespace: NamespaceHere = HOME,
    dry_run: DryRunHere = False,
    prune: PruneHere = False,
    label_selector: SelectorHere = None,
    into: IntoHere = None,
    strict: StrictHere = False,
) -> Response:
    """Documents with the packages of skills, at most 32 MiB: all are applied, or none.

    A ZIP without compression, with `documents.yaml` and a `packages/NAME.zip` for each skill. A skill without
    a document is described by its SKILL.md.
    """
    there = Sender(here.request, here.clients, here.asker, into or namespace)
    role = (await there.grant(contract.AttachPackage)).role
    if role is None or not role.includes(contract.AttachPackage.least_role):
        # Nothing is taken in for them; the catalog says no, and writes it down.
        return await there.send(contract.AttachPackage(name="none", object=SecretStr("0" * 32)))
    if request.headers.get("content-type", ZIP).partition(";")[0].strip().lower() != ZIP:
        raise HTTPException(415)
    async with here.clients.archives:
        archive = await asyncio.to_thread(applied_archive.opened, await request.body())
        stored = {name: uuid.uuid4().hex for name in archive.packages}
        packages = [
            contract.PackagedSkill(name=name, object=SecretStr(stored_as))
            for name, stored_as in stored.items()
        ]
        ask = contract.Apply(
            text=SecretStr(_decoded(archive.documents)),
            namespace=namespace,
            dry_run=dry_run,
            prune=prune,
            label_selector=label_selector,
            into=into,
            strict=strict,
            packages=tuple(packages),
        )
        await _check(ask)
        try:
            for name, content in archive.packages.items():
                await here.clients.packages.put(stored[name], content)
            applied = await here.value(ask)
        except SignalboxError as error:
            if error.final:
                await _forgotten(here, stored)
            raise
    return await _with_tasks(here, ask, applied)


async def _check(ask: contract.Apply) -> None:
    """The catalog knows no tasks: it says nothing of their fields."""
    if ask.strict:
        await applied_tasks.check_spelling(ask.text.get_secret_value())


async def _forgotten(here: Sender, stored: Mapping[str, str]) -> None:
    for stored_as in stored.values():
        with suppress(SignalboxError):  # it is cleared away later then
            await here.clients.packages.delete(stored_as)


async def _with_tasks(here: Sender, ask: contract.Apply, applied: contract.ApplyResult) -> Response:
    if not ask.dry_run:
        applied = await applied_tasks.created(here, ask, applied)
    return Response(applied.encode(), media_type="application/json")


def _text(body: bytes, content_type: str | None) -> str:
    media = (content_type or TAKEN[0]).partition(";")[0].strip().lower()
    if media not in TAKEN:
        raise HTTPException(415)
    return _decoded(body)


def _decoded(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise NotUtf8(line) from error
