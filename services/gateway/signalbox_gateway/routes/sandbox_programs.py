"""Programs of sandboxes: run to their end, started, followed, and spoken with at a terminal."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from fastapi import Query, Request, WebSocket
from pydantic import Field, SecretStr, model_validator
from starlette.responses import Response

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.base import GrantScope, Text
from signalbox_common.errors import SignalboxError
from signalbox_gateway import event_stream
from signalbox_gateway.bytes_proxy import StreamedBody
from signalbox_gateway.clients import Clients, RequestContext
from signalbox_gateway.closing import close_of
from signalbox_gateway.identity import Asker
from signalbox_gateway.programs import ExecResult, Programs
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.at_sandbox import OF_SANDBOX, AtSandbox, SandboxBody, client_at, sender_at
from signalbox_gateway.routes.here import Sender
from signalbox_gateway.routes.router import IdempotencyKey, Routes
from signalbox_gateway.sockets import said_by, shown_by

routes = Routes("/api/v1/sandboxes/{sandbox_id}", "sandboxes")

EXEC_TIMEOUT = 600.0
"""Seconds of a program that nobody has set others for."""
MAX_STDIN = 256 * 1024
_LONGEST_NUMBER = 19
_EVENTS: Responses = {200: {"content": {event_stream.MEDIA_TYPE: {"schema": {"type": "string"}}}}}
_OF_PROCESS = (*OF_SANDBOX, (404, "process_not_found"))
_OF_START = (
    *_OF_PROCESS,
    (409, "key_taken"),
    (409, "too_many_processes"),
    (422, "not_started"),
    (507, "disk_full"),
)


class NewProgram(SandboxBody):
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


@asynccontextmanager
async def _programs(here: Sender, sandbox: uuid.UUID) -> AsyncIterator[Programs]:
    async with client_at(here, sandbox, contract.EXECUTE) as client:
        yield Programs(client, str(sandbox))


@routes.on(
    "POST",
    "/exec",
    reply=ExecResult,
    grant=GrantScope.PROJECT,
    also=[*_OF_START, (422, "bad_idempotency_key")],
    shows=_EVENTS,
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
        if event_stream.MEDIA_TYPE in here.request.headers.get("accept", ""):
            await programs.start(key, program)
            if stdin is not None:
                await programs.give(key, stdin, close=True)
            return _streamed(here, programs, key, 0, stack.pop_all())
        result = await programs.run(key, program, stdin)
    return Response(result.model_dump_json(by_alias=True), media_type="application/json")


@routes.on(
    "POST",
    "/processes",
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
    "/processes",
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
    "/processes/{key}",
    reply=contract.Process,
    grant=GrantScope.PROJECT,
    also=_OF_PROCESS,
)
async def get_process(here: AtSandbox, sandbox_id: uuid.UUID, key: contract.ProcessKey) -> Response:
    async with _programs(here, sandbox_id) as programs:
        return Response(await programs.process(key), media_type="application/json")


@routes.on(
    "GET",
    "/processes/{key}/output",
    grant=GrantScope.PROJECT,
    also=_OF_PROCESS,
    response_class=Response,
    shows=_EVENTS,
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
        return _streamed(here, programs, key, offset, stack.pop_all())


@routes.on("GET", "/metrics", reply=contract.SandboxMetrics, grant=GrantScope.PROJECT, also=OF_SANDBOX)
async def get_metrics(here: AtSandbox, sandbox_id: uuid.UUID) -> Response:
    """What it uses now, and has used."""
    async with client_at(here, sandbox_id, contract.EXECUTE) as client:
        found = b"".join([chunk async for chunk in client.read(contract.MEASURE, sandbox=str(sandbox_id))])
    return Response(found, media_type="application/json")


@routes.on(
    "POST",
    "/processes/{key}/signal",
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


@routes.websocket("/terminal")
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
            await programs.converse(socket, asker, name, max(offset, 0))
    except SignalboxError as error:
        await socket.close(*close_of(error))


async def _seen_from(socket: WebSocket, clients: Clients, asker: Asker, sandbox: uuid.UUID) -> Sender:
    request = Request({**socket.scope, "type": "http", "method": "GET"})
    return await sender_at(request, clients, asker, sandbox, contract.EXECUTE)


def _streamed(here: Sender, programs: Programs, key: str, offset: int, stack: AsyncExitStack) -> Response:
    headers = {**event_stream.HEADERS, "Content-Encoding": "identity"}
    events = programs.events(key, offset)
    return StreamedBody(here.someone, events, stack.aclose, event_stream.MEDIA_TYPE, headers)


def _command_id(here: Sender) -> uuid.UUID:
    """The same for a repeat under an `Idempotency-Key`."""
    return here.clients.command_id(here.someone, RequestContext.of(here.request))
