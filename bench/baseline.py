"""The same handlers in one FastAPI process without a bus: what the product is measured against.

Edge, middlewares, token check with its cache, route class, use cases, database and encoding are the
product's own classes; only what belongs to the bus (grants, messages, the second process) is missing.
"""

import asyncio
import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import uvicorn
import uvloop
from fastapi import APIRouter, FastAPI
from starlette.responses import Response

from signalbox_auth.passwords import Passwords
from signalbox_auth.service.keys import Keys
from signalbox_auth.service.projects import Projects
from signalbox_auth.service.users import Users
from signalbox_auth.settings import AuthSettings
from signalbox_common import telemetry
from signalbox_common.bus import Bus, Call
from signalbox_common.bus.audit import Asked
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Query, Reply
from signalbox_common.db import Database
from signalbox_common.keys import Sealer
from signalbox_common.principal import Principal
from signalbox_common.revoked import Revoked
from signalbox_common.secrets import KeyFile, LocalSecrets
from signalbox_common.tokens import KeyRing, PublishedKey
from signalbox_gateway import problems
from signalbox_gateway.app import add_middlewares
from signalbox_gateway.identity import Asker, CurrentAsker, Identity
from signalbox_gateway.routes.here import ClientsHere
from signalbox_gateway.settings import GatewaySettings


@dataclass(frozen=True)
class Here:
    """Stands where the gateway's `Clients` stand, so that its own dependencies find it."""

    users: Users
    projects: Projects
    identity: Identity


auth = APIRouter(prefix="/api/v1/auth")
projects = APIRouter(prefix="/api/v1/projects")


@auth.get("/me", response_model=contract.User)
async def me(asker: CurrentAsker, clients: ClientsHere) -> Response:
    query = contract.Me()
    return _encoded(await _here(clients).users.me(_call(asker, query), query))


@projects.get("/{project_id}", response_model=contract.Project)
async def get_project(project_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere) -> Response:
    query = contract.GetProject()
    project = await _here(clients).projects.get(_call(asker, query, project_id), query)
    response = _encoded(project)
    response.headers["ETag"] = f'"{project.version}"'
    return response


def _here(here: object) -> Here:
    assert isinstance(here, Here)
    return here


def _call(asker: Asker, query: Query[Any], project: uuid.UUID | None = None) -> Call:
    principal = Principal(asker.user_id, asker.username, contract.PlatformRole.USER, project)
    return Call(Asked(type(query), query, principal))


def _encoded(reply: Reply) -> Response:
    return Response(reply.encode(), media_type="application/json")


async def _keep_hearing(revoked: Revoked) -> None:
    while True:
        revoked.heard()
        await asyncio.sleep(0.2)


def build(settings: AuthSettings, edge: GatewaySettings) -> FastAPI:
    telemetry.configure("baseline", settings.instance, settings.log_level, settings.otel_endpoint)
    public: dict[str, PublishedKey] = {}

    async def find(kid: str) -> PublishedKey | None:
        return public.get(kid)

    async def keep(kid: str, key: PublishedKey) -> None:
        public[kid] = key

    ring = KeyRing(find)
    database = Database(settings)
    secret_key = settings.secret_key.get_secret_value()
    store = LocalSecrets(database, KeyFile(settings.secrets_dir / "auth.keys", secret_key))
    keys = Keys(database, store, keep, Sealer(secret_key, "auth/signing-keys"))
    # Nothing is revoked here, and nobody has to be listened to.
    revoked = Revoked()
    users = Users(database, Passwords(settings), registration_open=True)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await keys.load()
        hearing = asyncio.create_task(_keep_hearing(revoked))
        yield
        hearing.cancel()
        await database.close()

    app = FastAPI(
        title="Baseline",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    # The gateway's own check and cache of access tokens; it needs nothing of the bus but its keys.
    bus = cast("Bus", SimpleNamespace(keys=ring, revoked=revoked))
    app.state.clients = Here(users, Projects(database), Identity(bus))
    problems.install(app)
    for routes in (auth, projects):
        app.include_router(routes)
    add_middlewares(app, edge)
    return app


def main(descriptor: int) -> None:
    """Serves on a listening socket that was handed down, as the gateway does."""
    config = uvicorn.Config(
        build(AuthSettings(), GatewaySettings()),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
        ws="none",
    )
    uvloop.run(uvicorn.Server(config).serve([socket.socket(fileno=descriptor)]))


if __name__ == "__main__":
    main(int(sys.argv[1]))
