"""The same handlers with their SQL in one FastAPI process without a bus: what the product is held against.

Edge, middlewares, token check with its cache, statements, database and encoding are the product's own;
what belongs to the bus is missing: grants, messages, inbox, outbox, and the second process.
"""

import base64
import secrets
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Annotated, cast

import httpx
import uvicorn
import uvloop
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from starlette.responses import Response

from signalbox_auth.domain.audit import Chain
from signalbox_auth.domain.names import checked_slug, slug_of, suffixed
from signalbox_auth.domain.projects import Project
from signalbox_auth.service.projects import reply_of
from signalbox_auth.settings import AuthSettings
from signalbox_auth.store import audit, members, projects, users
from signalbox_common import telemetry
from signalbox_common.bus import Bus
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.events import AuditRecorded
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.revoked import Revocations
from signalbox_common.tokens import KeyRing, PublishedKey
from signalbox_gateway.identity import Asker, Identity
from signalbox_gateway.middlewares import add_middlewares
from signalbox_gateway.settings import GatewaySettings


async def _asker(request: Request) -> Asker:
    identity: Identity = request.app.state.identity
    return await identity.asker(request.headers.get("authorization", "").removeprefix("Bearer "))


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


CurrentAsker = Annotated[Asker, Depends(_asker)]
DatabaseHere = Annotated[Database, Depends(_database)]
routes = APIRouter(prefix="/api/v1")


@routes.get("/auth/me", response_model=contract.User)
async def me(asker: CurrentAsker, database: DatabaseHere) -> Response:
    async with database.reading() as connection:
        user = await users.get(connection, asker.user_id)
    if user is None:
        raise HTTPException(404)
    reply = contract.User(
        id=user.id,
        username=user.username,
        email=user.email,
        display_name=user.display_name,
        role=user.role,
        created_at=user.created_at,
    )
    return Response(reply.encode(), media_type="application/json")


@routes.get("/projects/{project_id}", response_model=contract.Project)
async def get_project(project_id: uuid.UUID, asker: CurrentAsker, database: DatabaseHere) -> Response:
    async with database.reading() as connection:
        project = await projects.get(connection, project_id, asker.user_id)
    if project is None:
        raise HTTPException(404)
    reply = reply_of(project)
    headers = {"ETag": f'"{reply.version}"'}
    return Response(reply.encode(), headers=headers, media_type="application/json")


@routes.post("/projects", status_code=201, response_model=contract.Project)
async def create_project(
    body: contract.CreateProject, asker: CurrentAsker, database: DatabaseHere, request: Request
) -> Response:
    """One transaction for the project, its owner, and the line in the audit log."""
    chain: Chain = request.app.state.chain
    async with database.transaction(actor=asker.user_id) as transaction:
        project = await _added(transaction, body, asker)
        await members.add(transaction, project.id, asker.user_id, ProjectRole.OWNER)
        await _record(transaction, chain, asker, project)
    return Response(reply_of(project).encode(), 201, media_type="application/json")


async def _added(transaction: Transaction, body: contract.CreateProject, asker: Asker) -> Project:
    derived = slug_of(body.name)
    slug = checked_slug(body.slug) if body.slug else derived
    while True:
        now = datetime.now(UTC)
        project = Project(
            id=uuid7(),
            name=body.name,
            slug=slug,
            description=body.description,
            role=ProjectRole.OWNER,
            created_at=now,
            updated_at=now,
            personal_of=None,
        )
        if await projects.add(transaction, project, asker.user_id):
            return project
        if body.slug:
            raise HTTPException(409)
        slug = suffixed(derived, secrets.token_hex(4))


async def _record(transaction: Transaction, chain: Chain, asker: Asker, project: Project) -> None:
    entry = AuditRecorded(
        action="auth.create-project",
        at=datetime.now(UTC),
        outcome="succeeded",
        actor=asker.user_id,
        actor_name=asker.username,
        resource=str(project.id),
        correlation_id=telemetry.correlation_id.get(),
    )
    last, before = await audit.lock_head(transaction)
    line = entry.model_dump() | {"sequence": last + 1, "id": uuid7()}
    await audit.add(transaction, [line | {"hash": chain.seal(before, line)}])


class NothingRevoked(Revocations):
    """Nobody takes anything back here, and nobody has to be listened to."""

    @property
    def trusted(self) -> bool:
        return True


def build(settings: AuthSettings, edge: GatewaySettings, stack_url: str) -> FastAPI:
    telemetry.configure("baseline", settings.instance, settings.log_level, settings.otel_endpoint)

    async def find(kid: str) -> PublishedKey | None:
        """As the stack publishes it."""
        async with httpx.AsyncClient(base_url=stack_url, timeout=15) as client:
            published = (await client.get("/.well-known/jwks.json")).json()["keys"]
        return next((PublishedKey(_decoded(key["x"])) for key in published if key["kid"] == kid), None)

    database = Database(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await database.close()

    app = FastAPI(
        title="Baseline",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.database = database
    app.state.chain = Chain(settings.secret_key.get_secret_value())
    # The gateway's own check and cache of access tokens; it needs nothing of the bus but its keys.
    bus = SimpleNamespace(keys=KeyRing(find), revoked=NothingRevoked())
    app.state.identity = Identity(cast("Bus", bus))
    app.include_router(routes)
    add_middlewares(app, edge)
    return app


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def main(descriptor: int, stack_url: str) -> None:
    """Serves on a listening socket that was handed down, as the gateway does."""
    config = uvicorn.Config(
        build(AuthSettings(), GatewaySettings(), stack_url),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
        ws="none",
    )
    uvloop.run(uvicorn.Server(config).serve([socket.socket(fileno=descriptor)]))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
