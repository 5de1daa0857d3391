"""Documents of the kind Task among those that were applied: each created once, whoever applies it again."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from signalbox_common.contracts import catalog
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.catalog import ApplyAction, ApplyResult, ApplyResultItem
from signalbox_common.errors import SignalboxError, invalid
from signalbox_common.spelling import CODE, unknown_fields
from signalbox_gateway.errors import UnknownFields
from signalbox_gateway.routes.here import HOME, Sender
from signalbox_gateway.routes.tasks import NewTask
from signalbox_manifests import Document, ManifestError, read

KIND = "Task"
_REFERENCES = {"teamRef": "team", "botRef": "bot", "repositoryRef": "repository"}


async def created(here: Sender, ask: catalog.Apply, applied: ApplyResult) -> ApplyResult:
    """What became of them, beside what became of the resources."""
    text = ask.text.get_secret_value()
    wanted = {item.document for item in applied.items if _is_task(item)}
    if not wanted:
        return applied
    documents = await asyncio.to_thread(read, text.encode())
    found = {each.number: each for each in documents if each.number in wanted}
    items = [
        await _create(here, found[item.document], ask, item)
        if item.document in found and _is_task(item)
        else item
        for item in applied.items
    ]
    return applied.model_copy(update={"items": tuple(items)})


def _is_task(item: ApplyResultItem) -> bool:
    return item.kind == KIND and item.action is ApplyAction.SKIPPED


async def check_spelling(text: str) -> None:
    """Before anything is applied, where unknown fields are refused; whatever else is wrong is told later."""
    try:
        documents = await asyncio.to_thread(read, text.encode())
    except ManifestError:
        return
    flaws = [flaw for each in documents if _kind_of(each) == KIND for flaw in _misspelt(each)]
    if flaws:
        raise UnknownFields(flaws)


async def _create(
    here: Sender, document: Document, ask: catalog.Apply, item: ApplyResultItem
) -> ApplyResultItem:
    """One that cannot be is skipped, and says why: the resources are applied."""
    metadata = _metadata_of(document)
    namespace = str(metadata.get("namespace") or ask.into or ask.namespace)
    if namespace == HOME and ask.into is not None:
        namespace = ask.into
    try:
        body = NewTask.model_validate(_body(document.content.get("spec"), metadata))
        there = Sender(here.request, here.clients, here.asker, namespace)
        digest = hashlib.sha256(
            json.dumps(document.content, sort_keys=True, default=str).encode()
        ).hexdigest()
        wanted = contract.CreateTask(task=await body.asked(there, f"task.{digest}"))
        await there.done(wanted, key=f"{KIND} {digest}")
    except ValidationError as error:
        return _skipped(item, invalid(error))
    except SignalboxError as error:
        if not error.final:
            raise
        return _skipped(item, error)
    return item.model_copy(
        update={
            "action": ApplyAction.CREATED,
            "namespace": namespace,
            "warning": None,
            "name": item.name,
            "warnings": tuple(_misspelt(document)),
        }
    )


def _misspelt(document: Document) -> list[FieldError]:
    """What of its spec a task does not know."""
    body = _body(document.content.get("spec"), _metadata_of(document))
    return [
        FieldError(
            field=f"spec.{each.field}",
            message=each.message,
            code=CODE,
            document=document.number,
            line=document.line_of(("spec", *each.path)),
        )
        for each in unknown_fields(NewTask, body)
    ]


def _kind_of(document: Document) -> Any:
    return document.content.get("kind") if isinstance(document.content, dict) else None


def _metadata_of(document: Document) -> dict[str, Any]:
    metadata = document.content.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _body(spec: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """As over HTTP; `prompt` and references are what other systems write."""
    given = dict(spec) if isinstance(spec, dict) else {}
    for reference, name in _REFERENCES.items():
        found = given.pop(reference, None)
        if isinstance(found, dict) and name not in given:
            given[name] = found.get("name")
    prompt = given.pop("prompt", None)
    if prompt is not None:
        given.setdefault("description", prompt)
    given.setdefault("title", metadata.get("displayName") or metadata.get("name"))
    return given


def _skipped(item: ApplyResultItem, error: SignalboxError) -> ApplyResultItem:
    wrong = "; ".join(f"{each.field}: {each.message}" for each in error.errors[:3])
    return item.model_copy(
        update={"warning": f"The task was not created: {error.detail}{' ' + wrong if wrong else ''}"}
    )


SENDS = (contract.CreateTask, contract.GetAgent, contract.KeepEnvironment, catalog.ResolveResource)
