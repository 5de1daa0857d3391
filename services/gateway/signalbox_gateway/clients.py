"""Typed calls of the gateway to the services behind it."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from fastapi import Request
from pydantic import SecretStr
from starlette.responses import JSONResponse, Response

from signalbox_common.bus import Answer, Bus, Envelope
from signalbox_common.bus.objects import Bucket
from signalbox_common.contracts.auth import Identify
from signalbox_common.contracts.auth import Identity as WhoItIs
from signalbox_common.contracts.base import Ask, Command, GrantScope, Query, Reply
from signalbox_common.contracts.base import Request as MessageToOwner
from signalbox_common.contracts.operations import (
    CancelOperation,
    GetOperation,
    OperationReport,
    OperationStatus,
)
from signalbox_common.contracts.streams import PACKAGES
from signalbox_common.errors import NotCancellable, OperationNotFound, SignalboxError, Unavailable
from signalbox_common.keys import CommandIds, OperationIds, OperationRef, uuid7
from signalbox_gateway.bytes_proxy import BytesProxy
from signalbox_gateway.errors import BadIdempotencyKey, ProjectNotFound
from signalbox_gateway.identity import Asker, Identity, TtlCache
from signalbox_gateway.refusals import declared_by

R = TypeVar("R", bound=Reply)
T = TypeVar("T")

NOBODY = uuid.UUID(int=0)
MAX_KEY = 255
ARCHIVES_AT_ONCE = 4
"""Each is in memory as a whole."""
_OLD_GRANT = frozenset({"grant_revoked", "key_retired"})
OPERATION_HEADER = "X-Operation-ID"


@dataclass(frozen=True)
class RequestContext:
    """The parts of an HTTP request that make its command what it is."""

    method: str
    path: str
    query: Mapping[str, str]
    idempotency_key: str | None
    part: str = ""
    """Which part of what is asked for, where one service is sent more than one message for it."""

    @staticmethod
    def of(request: Request, *, with_key: bool = True) -> "RequestContext":
        key = request.headers.get("idempotency-key") if with_key else None
        if key is not None and not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()):
            raise BadIdempotencyKey(MAX_KEY)
        return RequestContext(request.method, request.url.path, dict(request.query_params), key)


class Clients:
    """Everything that routes do goes through here."""

    def __init__(self, bus: Bus, secret_key: str, *, command_patience: float) -> None:
        self.bus = bus
        self.identity = Identity(bus)
        self.bytes = BytesProxy(self.identity)
        self._places: TtlCache[uuid.UUID] = TtlCache()
        self.packages = Bucket(bus.connection, PACKAGES)
        self.archives = asyncio.Semaphore(ARCHIVES_AT_ONCE)
        self._command_ids = CommandIds(secret_key)
        self.operation_ids = OperationIds(secret_key)
        self.patience = command_patience
        """Seconds for the answer of a command."""

    async def query(
        self, asker: Asker | None, query: Query[R], *, project: uuid.UUID | None = None
    ) -> Answer[R]:
        async def send(grant: str | None) -> Answer[R]:
            return await self.bus.query(query, grant=grant)

        return await self._granted(asker, query, project, send)

    async def identify(self, asker: Asker) -> WhoItIs:
        """As auth knows them at this moment."""
        with declared_by(Identify):
            return (await self.bus.query(Identify(token=SecretStr(asker.token)))).value()

    async def place(
        self, asker: Asker, service: str, namespace: str, message: type[MessageToOwner[Any]]
    ) -> uuid.UUID:
        """The project behind a namespace; there is none for those who are no members of it."""
        purpose = None if issubclass(message, Query) else message.verb()
        grant = await self.identity.grant(asker, service, namespace, purpose=purpose)
        if grant.project is None:
            raise ProjectNotFound
        return grant.project

    async def project_of(self, find: Query[Any]) -> uuid.UUID:
        """That never changes, and says nothing to those who have no grant for it."""
        known = self._places.get(find)
        if known is None:
            found: uuid.UUID = (await self.query(None, find)).value().project
            self._places.put(find, found, float("inf"))
            return found
        return known

    def command_id(self, asker: Asker | None, incoming: RequestContext) -> uuid.UUID:
        """A new one, or under an `Idempotency-Key` the same for each repeat."""
        if incoming.idempotency_key is None:
            return uuid7()
        user = asker.user_id if asker is not None else NOBODY
        path = incoming.path + incoming.part
        return self._command_ids.for_key(str(user), incoming.method, path, incoming.idempotency_key)

    async def ask(
        self,
        request: Request,
        ask: Ask[R],
        asker: Asker | None = None,
        *,
        project: uuid.UUID | None = None,
        service: str | None = None,
        part: str = "",
    ) -> Answer[R]:
        """`service` is for what every owner answers; `part` for what is but a part of what is asked for."""
        incoming = replace(RequestContext.of(request, with_key=ask.once), part=part)
        sending = self._sending(incoming, ask, asker, project)

        async def send(grant: str | None) -> Answer[R]:
            return await self.bus.ask(ask, replace(sending, grant=grant), service=service)

        return await self._granted(asker, ask, project, send, service=service)

    async def _granted(
        self,
        asker: Asker | None,
        message: MessageToOwner[Any],
        project: uuid.UUID | None,
        send: Callable[[str | None], Awaitable[T]],
        *,
        service: str | None = None,
    ) -> T:
        """Sends with the grant that is at hand, or with a new one where the owner knows that it is old."""
        contract = type(message)
        if asker is None or message.grant is GrantScope.NONE:
            with declared_by(contract):
                return await send(None)
        owner = service or message.owner()
        purpose = None if isinstance(message, Query) else message.verb(service)
        grant = await self.identity.grant(asker, owner, project, purpose=purpose)
        try:
            with declared_by(contract):
                return await send(grant.grant)
        except SignalboxError as error:
            if error.code not in _OLD_GRANT:
                raise
        grant = await self.identity.grant(asker, owner, project, fresh=True)
        with declared_by(contract):
            return await send(grant.grant)

    async def command(
        self,
        request: Request,
        asker: Asker,
        command: Command[R],
        *,
        status: int,
        project: uuid.UUID | None = None,
    ) -> Response:
        """Sends a command and renders its answer; 202 with its operation where none came in time."""
        incoming = RequestContext.of(request)
        sending = self._sending(incoming, command, asker, project)
        created_at = datetime.now(UTC)
        operation_id = self.operation_ids.mint(
            OperationRef(sending.command_id, asker.user_id, project, command.subject, created_at)
        )
        headers = {OPERATION_HEADER: operation_id}
        location = {"Location": f"/api/v1/operations/{operation_id}"}

        async def send(grant: str | None) -> Answer[R] | None:
            complete = replace(sending, grant=grant, operation=operation_id)
            return await self.bus.send(command, complete, patience=self.patience)

        try:
            answer = await self._granted(asker, command, project, send)
        except SignalboxError as error:
            unknown = error.code == "outcome_unknown"
            request.state.error_headers = headers | (location if unknown else {})
            raise
        if answer is None:
            return JSONResponse(
                operation_body(operation_id, command.subject, OperationStatus.PENDING, created_at),
                202,
                headers=headers | location,
            )
        if status == 204:
            return Response(status_code=status, headers=headers)
        return Response(answer.content, status, headers=headers, media_type="application/json")

    async def answered(
        self,
        request: Request,
        asker: Asker,
        command: Command[R],
        *,
        project: uuid.UUID | None = None,
        key: str | None = None,
    ) -> Answer[R]:
        """Of a command that is but a part of what is asked for; raises where no answer comes in time.

        Under a key it is done once for all requests that have it, in that project.
        """
        incoming = RequestContext.of(request)
        if key is not None:
            incoming = replace(incoming, query={}, idempotency_key=f"{project} {key}")
        sending = self._sending(incoming, command, asker, project)

        async def send(grant: str | None) -> Answer[R] | None:
            return await self.bus.send(command, replace(sending, grant=grant), patience=self.patience)

        answer = await self._granted(asker, command, project, send)
        if answer is None:
            raise Unavailable
        return answer

    async def operation(self, asker: Asker, operation_id: str) -> dict[str, object]:
        """What became of a command; to everybody else than its sender's project it does not exist."""
        ref = self._ref(operation_id)
        missing = OperationNotFound()
        if ref.user_id != asker.user_id:
            if ref.project_id is None:
                raise missing
            try:
                await self.identity.grant(asker, ref.service, ref.project_id)
            except SignalboxError as error:
                if error.status >= 500:
                    raise
                raise missing from error
        question = GetOperation(
            command_id=ref.command_id, command=ref.command, accepted_before=ref.created_at
        )
        try:
            report = (await self.bus.query(question, service=ref.service)).value()
        except Unavailable:
            report = OperationReport(status=OperationStatus.PENDING, command=ref.command)
        return operation_body(operation_id, ref.command, report.status, ref.created_at, report)

    async def cancel(self, request: Request, asker: Asker, operation_id: str) -> dict[str, object]:
        """Ends a command that is not done yet; the operation as it is then."""
        ref = self._ref(operation_id)
        if ref.project_id is None:  # nothing that goes on is outside a project
            if ref.user_id != asker.user_id:
                raise OperationNotFound
            raise NotCancellable
        ask = CancelOperation(command_id=ref.command_id)
        try:
            answer = await self.ask(request, ask, asker, project=ref.project_id, service=ref.service)
        except SignalboxError as error:
            if error.code == ProjectNotFound.code:
                raise OperationNotFound from error
            if error.code == OperationNotFound.code and ref.user_id == asker.user_id:
                raise NotCancellable from error  # it is theirs, and still on its way
            raise
        report = answer.value()
        return operation_body(operation_id, ref.command, report.status, ref.created_at, report)

    def _ref(self, operation_id: str) -> OperationRef:
        ref = self.operation_ids.read(operation_id)
        if ref is None:
            raise OperationNotFound
        return ref

    def _sending(
        self,
        incoming: RequestContext,
        message: Command[R] | Ask[R],
        asker: Asker | None,
        project: uuid.UUID | None,
    ) -> Envelope:
        digest = self._command_ids.digest(incoming.path, incoming.query, project, message.public_body())
        return Envelope(self.command_id(asker, incoming), digest)


def operation_body(
    operation_id: str,
    command: str,
    status: OperationStatus,
    created_at: datetime,
    report: OperationReport | None = None,
) -> dict[str, object]:
    error = report.error.model_dump(mode="json", by_alias=True) if report and report.error else None
    finished = report.finished_at.isoformat() if report and report.finished_at else None
    _, service, _, verb = command.split(".")
    return {
        "id": operation_id,
        "command": f"{service}.{verb}",
        "status": str(status),
        "resource": report.resource if report else None,
        "error": error,
        "createdAt": created_at.isoformat(),
        "finishedAt": finished,
    }
