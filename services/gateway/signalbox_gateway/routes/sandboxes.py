"""Sandboxes: safe machines, and the programs in them."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Query, Request, WebSocket
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.alias_generators import to_camel
from starlette.responses import Response

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.base import GrantScope, Text
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_common.errors import SignalboxError
from signalbox_common.paging import id_cursor
from signalbox_gateway.bytes_proxy import EVENT_HEADERS, StreamedBody
from signalbox_gateway.clients import Clients, RequestContext
from signalbox_gateway.closing import close_of
from signalbox_gateway.errors import SandboxNotFound
from signalbox_gateway.identity import Asker, CurrentAsker
from signalbox_gateway.live.access import own_projects
from signalbox_gateway.programs import ExecResult, Programs
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender, passed_on
from signalbox_gateway.routes.router import IdempotencyKey, Routes
from signalbox_gateway.sockets import said_by, shown_by

routes = Routes("/api/v1", "sandboxes")

EXEC_TIMEOUT = 600.0
"""Seconds of a program that nobody has set others for."""
MAX_STDIN = 256 * 1024
_LONGEST_NUMBER = 19
AT_ONCE = 8
MOST_PROJECTS = 100
"""Whose sandboxes are listed together."""
_EVENT_STREAM = "text/event-stream"
OF_SANDBOX = (
    (404, "sandbox_not_found"),
    (409, "sandbox_ended"),
    (409, "sandbox_paused"),
    (409, "not_running_yet"),
    (403, "role_too_low"),
    (403, "insufficient_scope"),
)
_OF_PROCESS = (*OF_SANDBOX, (404, "process_not_found"))
_OF_START = (
    *_OF_PROCESS,
    (409, "key_taken"),
    (409, "too_many_processes"),
    (422, "not_started"),
    (507, "disk_full"),
)


class _Body(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)


class NewSandbox(_Body):
    """All of it may be left out."""

    template: contract.TemplateName = "base"
    env: contract.Environment = Field(default_factory=dict)
    limits: contract.Limits = contract.Limits()
    timeout: contract.Lifetime = 3600
    """Seconds until `atEnd`."""
    at_end: contract.AtEnd = contract.AtEnd.DESTROY
    network: Annotated[str, Field(pattern="^none$")] = "none"
    labels: Annotated[dict[contract.LabelName, contract.Label], Field(max_length=50)] = Field(
        default_factory=dict
    )

    def asked(self) -> contract.CreateSandbox:
        return contract.CreateSandbox(
            template=self.template,
            env=self.env,
            limits=self.limits,
            lifetime=self.timeout,
            at_end=self.at_end,
            labels=self.labels,
        )


class NewSandboxSomewhere(NewSandbox):
    """In the asker's personal project, if it says no other."""

    project_id: uuid.UUID | None = None


class Timeout(_Body):
    timeout: contract.Lifetime


class NewProgram(_Body):
    """`command` for a shell, or `argv`."""

    command: Annotated[Text, Field(min_length=1, max_length=100_000)] | None = None
    argv: Annotated[tuple[Text, ...], Field(min_length=1, max_length=4096)] | None = None
    cwd: Annotated[Text, Field(min_length=1, max_length=4096)] | None = None
    env: Annotated[dict[contract.VariableName, SecretStr], Field(max_length=500)] = Field(
        default_factory=dict
    )
    user: Annotated[str, Field(pattern="^user$")] | None = None
    timeout: Annotated[float, Field(gt=0, le=contract.DAY)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "NewProgram":
        if (self.command is None) == (self.argv is None):
            raise ValueError("say either `command` or `argv`")
        return self

    def program(self, **more: Any) -> contract.Program:
        argv = self.argv if self.argv is not None else ("/bin/sh", "-c", self.command or "")
        env = {name: value.get_secret_value() for name, value in self.env.items()}
        return contract.Program(**{"argv": argv, "env": env, "cwd": self.cwd, "timeout": self.timeout} | more)


class Exec(NewProgram):
    stdin: Annotated[Text, Field(max_length=MAX_STDIN)] | None = None


class Start(NewProgram):
    """It goes on when nobody listens."""

    key: contract.ProcessKey | None = None
    """Asked for twice under one key, it is started once; by default a new one."""


# -- where it is ---------------------------------------------------------------------------------------------


async def sender_at(
    request: Request, clients: Clients, asker: Asker, sandbox: uuid.UUID, purpose: str | None
) -> Sender:
    """In the project of the sandbox; others' are answered like those that are not there."""
    project = await clients.project_of_sandbox(sandbox)
    try:
        await clients.identity.grant(asker, "sandbox", project, purpose=purpose)
    except SignalboxError as error:
        if error.status == 404:
            raise SandboxNotFound from error
        raise
    return Sender(request, clients, asker, project)


async def _at_sandbox(
    request: Request, clients: ClientsHere, asker: CurrentAsker, sandbox_id: uuid.UUID
) -> Sender:
    sends = request.scope["route"].sends
    changes = request.method != "GET"
    purpose = sends[0].verb() if changes and sends else contract.EXECUTE if changes else None
    return await sender_at(request, clients, asker, sandbox_id, purpose)


AtSandbox = Annotated[Sender, Depends(_at_sandbox)]
"""Below `/sandboxes/{sandbox_id}`."""


@asynccontextmanager
async def _programs(here: Sender, sandbox: uuid.UUID) -> AsyncIterator[Programs]:
    """Raises what it is instead, where it does not run."""
    location, project = await location_of(here, sandbox), project_of(here)
    client = here.clients.bytes.client(here.someone, "sandbox", location.url, project, contract.EXECUTE)
    async with client:
        yield Programs(client, str(sandbox))


async def location_of(here: Sender, sandbox: uuid.UUID) -> contract.SandboxLocation:
    """Raises what it is instead, where it does not run."""
    question = contract.LocateSandbox(sandbox=sandbox)
    return (await here.clients.query(here.someone, question, project=project_of(here))).value()


def project_of(here: Sender) -> uuid.UUID:
    if not isinstance(here.place, uuid.UUID):
        raise TypeError("a sandbox is in a project")
    return here.place


# -- sandboxes -----------------------------------------------------------------------------------------------

_CREATING: Responses = {
    202: {"description": "It does not run yet; `status` is `creating`.", "model": contract.Sandbox}
}


@routes.on("POST", "/sandboxes", contract.CreateSandbox, status=201, shows=_CREATING)
async def create_sandbox(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewSandboxSomewhere
) -> Response:
    """Answered when it runs, which takes less than a tenth of a second, or after four seconds with 202."""
    return await _create(Sender(request, clients, asker, body.project_id or HOME), body)


@routes.on("POST", "/projects/{project_id}/sandboxes", contract.CreateSandbox, status=201, shows=_CREATING)
async def create_sandbox_in_project(here: InProject, body: NewSandbox) -> Response:
    return await _create(here, body)


async def _create(here: Sender, body: NewSandbox) -> Response:
    answer = await here.answer(body.asked())
    creating = answer.value().status is SandboxStatus.CREATING
    return passed_on(answer, 202 if creating else 201)


@routes.on("GET", "/sandboxes", contract.ListSandboxes)
async def list_sandboxes(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default all that the asker may read.")
    ] = None,
    status: SandboxStatus | None = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first; those that have ended are listed for a month."""
    wanted = contract.ListSandboxes(status=status, cursor=cursor, limit=limit)
    if project_id is not None:
        return await Sender(request, clients, asker, project_id).send(wanted)
    slots = asyncio.Semaphore(AT_ONCE)

    async def of(project: uuid.UUID) -> contract.SandboxPage:
        async with slots:
            return (await clients.query(asker, wanted, project=project)).value()

    projects = sorted(await own_projects(clients, asker), reverse=True)[:MOST_PROJECTS]
    pages = await asyncio.gather(*map(of, projects))
    found = sorted((item for page in pages for item in page.items), key=lambda item: item.id, reverse=True)
    more = len(found) > limit or any(page.next_cursor for page in pages)
    items = tuple(found[:limit])
    page = contract.SandboxPage(items=items, next_cursor=id_cursor(items[-1].id) if more and items else None)
    return Response(page.encode(), media_type="application/json")


@routes.on("GET", "/projects/{project_id}/sandboxes", contract.ListSandboxes)
async def list_sandboxes_of_project(
    here: InProject, page: Annotated[contract.ListSandboxes, Query()]
) -> Response:
    return await here.send(page)


@routes.on("GET", "/sandboxes/{sandbox_id}", contract.GetSandbox)
async def get_sandbox(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    return await here.send(contract.GetSandbox(sandbox=sandbox_id))


@routes.on("DELETE", "/sandboxes/{sandbox_id}", contract.DestroySandbox)
async def destroy_sandbox(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    """With all that is in it."""
    return await here.send(contract.DestroySandbox(sandbox=sandbox_id))


@routes.on("POST", "/sandboxes/{sandbox_id}/pause", contract.PauseSandbox)
async def pause_sandbox(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    """Its programs stop where they are. Its files outlive a restart of its node, its programs do not."""
    return await here.send(contract.PauseSandbox(sandbox=sandbox_id))


@routes.on("POST", "/sandboxes/{sandbox_id}/resume", contract.ResumeSandbox)
async def resume_sandbox(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    """Its programs go on, with all of its time ahead again."""
    return await here.send(contract.ResumeSandbox(sandbox=sandbox_id))


@routes.on("PUT", "/sandboxes/{sandbox_id}/timeout", contract.SetSandboxDeadline)
async def set_timeout(here: AtSandbox, sandbox_id: uuid.UUID, body: Timeout) -> Response:
    """From now on it has that many seconds."""
    return await here.send(contract.SetSandboxDeadline(sandbox=sandbox_id, lifetime=body.timeout))


# -- programs ------------------------------------------------------------------------------------------------


@routes.on(
    "POST",
    "/sandboxes/{sandbox_id}/exec",
    reply=ExecResult,
    grant=GrantScope.PROJECT,
    also=[*_OF_START, (422, "bad_idempotency_key")],
    shows={200: {"content": {_EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
async def execute(
    here: AtSandbox, sandbox_id: uuid.UUID, body: Exec, _key: IdempotencyKey = None
) -> Response:
    """Runs a program to its end; with `Accept: text/event-stream` as it goes on: `stdout`, `stderr`, `end`.

    Under an `Idempotency-Key` it is started once, and a repeat is answered with what came of it.
    """
    key = f"exec-{_command_id(here)}"
    stdin = body.stdin.encode() if body.stdin is not None else None
    program = body.program(stdin=stdin is not None, timeout=body.timeout or EXEC_TIMEOUT)
    async with AsyncExitStack() as stack:
        programs = await stack.enter_async_context(_programs(here, sandbox_id))
        if _EVENT_STREAM in here.request.headers.get("accept", ""):
            await programs.start(key, program)
            if stdin is not None:
                await programs.give(key, stdin, close=True)
            return _streamed(programs, key, 0, stack.pop_all())
        result = await programs.run(key, program, stdin)
    return Response(result.model_dump_json(by_alias=True), media_type="application/json")


@routes.on(
    "POST",
    "/sandboxes/{sandbox_id}/processes",
    reply=contract.Process,
    status=201,
    grant=GrantScope.PROJECT,
    also=[*_OF_START, (422, "bad_idempotency_key")],
)
async def start_process(
    here: AtSandbox, sandbox_id: uuid.UUID, body: Start, _key: IdempotencyKey = None
) -> Response:
    """Starts a program, and does not wait for its end."""
    async with _programs(here, sandbox_id) as programs:
        process = await programs.start(body.key or f"process-{_command_id(here)}", body.program())
    return Response(process.encode(), 201, media_type="application/json")


@routes.on(
    "GET",
    "/sandboxes/{sandbox_id}/processes",
    reply=contract.ProcessList,
    grant=GrantScope.PROJECT,
    also=_OF_PROCESS,
)
async def list_processes(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    """Those that run, and those that have ended."""
    async with _programs(here, sandbox_id) as programs:
        return Response(await programs.processes(), media_type="application/json")


@routes.on(
    "GET",
    "/sandboxes/{sandbox_id}/processes/{key}",
    reply=contract.Process,
    grant=GrantScope.PROJECT,
    also=_OF_PROCESS,
)
async def get_process(here: AtSandbox, sandbox_id: uuid.UUID, key: contract.ProcessKey) -> Response:
    async with _programs(here, sandbox_id) as programs:
        return Response(await programs.process(key), media_type="application/json")


@routes.on(
    "GET",
    "/sandboxes/{sandbox_id}/processes/{key}/output",
    grant=GrantScope.PROJECT,
    also=_OF_PROCESS,
    response_class=Response,
    shows={200: {"content": {_EVENT_STREAM: {"schema": {"type": "string"}}}}},
)
async def follow_output(
    here: AtSandbox,
    sandbox_id: uuid.UUID,
    key: contract.ProcessKey,
    offset: Annotated[int, Query(alias="from", ge=0)] = 0,
) -> Response:
    """As server-sent events to its end: `stdout`, `stderr`, `pty`, `gap`, `end`; the id of each is where to
    go on from."""
    last = here.request.headers.get("last-event-id", "")
    offset = int(last) if last.isdecimal() and len(last) < _LONGEST_NUMBER else offset
    async with AsyncExitStack() as stack:
        programs = await stack.enter_async_context(_programs(here, sandbox_id))
        await programs.process(key)
        return _streamed(programs, key, offset, stack.pop_all())


@routes.on(
    "POST",
    "/sandboxes/{sandbox_id}/processes/{key}/signal",
    status=204,
    grant=GrantScope.PROJECT,
    also=[*_OF_PROCESS, (409, "process_ended")],
)
async def signal_process(
    here: AtSandbox, sandbox_id: uuid.UUID, key: contract.ProcessKey, body: contract.SignalProcess
) -> Response:
    """With `tree` and signal 9, it ends with all that it has started."""
    async with _programs(here, sandbox_id) as programs:
        await programs.signal(key, body)
    return Response(status_code=204)


@routes.websocket("/sandboxes/{sandbox_id}/terminal")
async def terminal(
    socket: WebSocket,
    sandbox_id: uuid.UUID,
    key: str | None = None,
    rows: int = 24,
    cols: int = 80,
    offset: int = 0,
) -> None:
    """A shell: binary messages both ways, and `{"type": "resize", "rows", "cols"}` as text.

    With the key of one that runs already, it goes on with that from the offset on.
    """
    clients: Clients = socket.app.state.clients
    asker: Asker | None = None
    refusal: SignalboxError | None = None
    try:
        asker = await shown_by(socket)
    except SignalboxError as error:
        refusal = error
    await socket.accept()  # browsers are told no reason by a handshake that fails
    try:
        if refusal is not None:
            raise refusal
        asker = asker or await said_by(socket)
        here = await _seen_from(socket, clients, asker, sandbox_id)
        name = key or f"terminal-{uuid.uuid4()}"
        size = contract.Terminal(rows=min(max(rows, 1), 1000), cols=min(max(cols, 1), 1000))
        async with _programs(here, sandbox_id) as programs:
            if key is None:
                await programs.start(name, contract.Program(argv=("/bin/bash", "-l"), pty=size))
            else:
                await programs.process(name)
                await programs.resize(name, size)
            await socket.send_json({"type": "ready", "key": name})
            await programs.converse(socket, name, max(offset, 0))
    except SignalboxError as error:
        await socket.close(*close_of(error))


async def _seen_from(socket: WebSocket, clients: Clients, asker: Asker, sandbox: uuid.UUID) -> Sender:
    request = Request({**socket.scope, "type": "http", "method": "GET"})
    return await sender_at(request, clients, asker, sandbox, contract.EXECUTE)


def _streamed(programs: Programs, key: str, offset: int, stack: AsyncExitStack) -> Response:
    headers = {**EVENT_HEADERS, "Content-Encoding": "identity"}
    return StreamedBody(programs.events(key, offset), stack.aclose, _EVENT_STREAM, headers)


def _command_id(here: Sender) -> uuid.UUID:
    """The same for a repeat under an `Idempotency-Key`."""
    return here.clients.command_id(here.someone, RequestContext.of(here.request))
