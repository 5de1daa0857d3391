"""Runs: how far each attempt at a task is, what its programs say, and what it leaves."""

import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import Field
from starlette.responses import Response

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import GrantScope, Text
from signalbox_common.dataplane.frames import Frame, FrameKind
from signalbox_common.dataplane.programs import frames_of
from signalbox_gateway import event_stream
from signalbox_gateway.bytes_proxy import StreamedBody
from signalbox_gateway.output_events import events_of
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.at_tasks import AtRun, TaskBody, place_at
from signalbox_gateway.routes.router import Routes

routes = Routes("/api/v1/runs/{run_id}", "tasks")

_LONGEST_NUMBER = 19
_OF_RUN = ((404, "run_not_found"), (403, "insufficient_scope"))
_LOG: Responses = {
    200: {
        "description": "What its programs have said; with `Accept: text/event-stream` as events.",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            event_stream.MEDIA_TYPE: {"schema": {"type": "string"}},
        },
    }
}
_BYTES: Responses = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


class DeliverAgain(TaskBody):
    """By default as it was asked for before."""

    findings: Literal["refuse", "allow"] | None = None
    """`allow` is for maintainers."""
    workflow_files: Literal["refuse", "allow"] | None = None
    commits: Literal["squash"] | None = None


class RunAnswer(TaskBody):
    approve: bool
    message: Annotated[Text, Field(max_length=10_000)] = ""
    """For whoever goes on."""


@routes.on("GET", "", contract.GetRun)
async def get_run(here: AtRun, run_id: uuid.UUID) -> Response:
    return await here.send(contract.GetRun(run=run_id))


@routes.on("POST", "/deliver", contract.DeliverRun, status=201)
async def deliver_run(here: AtRun, run_id: uuid.UUID, body: DeliverAgain | None = None) -> Response:
    """A new run that delivers what this one has left, and runs no program."""
    wanted = body or DeliverAgain()
    return await here.send(
        contract.DeliverRun(
            run=run_id,
            findings=wanted.findings,
            workflow_files=wanted.workflow_files,
            commits=wanted.commits,
        )
    )


@routes.on("POST", "/answer", contract.AnswerRun)
async def answer_run(here: AtRun, run_id: uuid.UUID, body: RunAnswer) -> Response:
    """Whether a run that waits for a person goes on; refused, it ends, and what it has changed is kept."""
    return await here.send(contract.AnswerRun(run=run_id, approve=body.approve, message=body.message))


@routes.on("GET", "/steps", contract.GetRunSteps)
async def get_run_steps(here: AtRun, run_id: uuid.UUID) -> Response:
    """In their order, those that are to come included."""
    return await here.send(contract.GetRunSteps(run=run_id))


@routes.on("GET", "/artifacts", contract.ListArtifacts)
async def list_artifacts(here: AtRun, run_id: uuid.UUID) -> Response:
    return await here.send(contract.ListArtifacts(run=run_id))


@routes.on(
    "GET",
    "/artifacts/{artifact}",
    grant=GrantScope.PROJECT,
    response_class=Response,
    also=[*_OF_RUN, (404, "artifact_not_found")],
    shows=_BYTES,
)
async def read_artifact(here: AtRun, run_id: uuid.UUID, artifact: str) -> Response:
    place = await place_at(here, contract.READ_ARTIFACT, run=str(run_id), name=artifact)
    return await here.clients.bytes.download(here.someone, place)


@routes.on(
    "GET",
    "/changes",
    grant=GrantScope.PROJECT,
    response_class=Response,
    also=[*_OF_RUN, (404, "artifact_not_found")],
    shows={200: {"content": {"text/x-diff": {"schema": {"type": "string"}}}}},
)
async def read_run_changes(here: AtRun, run_id: uuid.UUID) -> Response:
    """What it has changed, as a unified diff."""
    place = await place_at(here, contract.READ_ARTIFACT, run=str(run_id), name=contract.CHANGES)
    return await here.clients.bytes.download(here.someone, place, media_type="text/x-diff")


@routes.on("GET", "/log", grant=GrantScope.PROJECT, response_class=Response, also=_OF_RUN, shows=_LOG)
async def read_log(
    here: AtRun,
    run_id: uuid.UUID,
    offset: Annotated[int, Query(alias="from", ge=0)] = 0,
    follow: Annotated[bool, Query(description="To the end of the run; events are followed always.")] = False,
) -> Response:
    """From an offset on: the first 4 and the last 12 MiB of it are kept."""
    place = await place_at(here, contract.READ_RUN_LOG, run=str(run_id))
    accepts = here.request.headers.get("accept", "")
    as_events = event_stream.MEDIA_TYPE in accepts
    last = here.request.headers.get("last-event-id", "")
    if as_events and last.isdecimal() and len(last) < _LONGEST_NUMBER:
        offset = int(last)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            here.clients.bytes.client(
                here.someone, "tasks", place.address, place.project, contract.READ_RUN_LOG.does
            )
        )
        frames = frames_of(client, place.route, offset, follow=follow or as_events, **place.names)
        close = stack.pop_all().aclose
        if as_events:
            headers = {**event_stream.HEADERS, "Content-Encoding": "identity"}
            return StreamedBody(
                here.someone, events_of(frames, _end_of), close, event_stream.MEDIA_TYPE, headers
            )
        headers = {"Content-Encoding": "identity", "X-Accel-Buffering": "no"}
        return StreamedBody(here.someone, _text_of(frames), close, "text/plain; charset=utf-8", headers)


async def _text_of(frames: AsyncGenerator[Frame, None]) -> AsyncIterator[bytes]:
    async with aclosing(frames):
        async for frame in frames:
            if frame.kind is FrameKind.GAP:
                yield b"\n[%d bytes are not kept]\n" % (frame.following - frame.offset)
            elif frame.kind is not FrameKind.END:
                yield frame.content


def _end_of(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(frame.content)
    return found
