"""The same handlers in one FastAPI process without a bus: what the product is measured against.

Edge, middlewares, token check with its cache, route class, use cases, database and encoding are the
product's own classes; only what belongs to the bus (grants, messages, the second process) is missing.
"""

import socket
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI, Request
from starlette.responses import Response

from signalbox_auth.domain import DomainError
from signalbox_auth.errors import translate
from signalbox_auth.passwords import Passwords
from signalbox_auth.service import AuthService
from signalbox_auth.settings import AuthSettings
from signalbox_auth.store import Store
from signalbox_common import telemetry
from signalbox_common.bus import Bus
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Reply
from signalbox_common.db import Database
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import Sealer
from signalbox_common.principal import KeyRing, Principal
from signalbox_gateway import problems
from signalbox_gateway.app import add_middlewares
from signalbox_gateway.identity import Asker, CurrentAsker, Identity
from signalbox_gateway.routes.common import ClientsHere, errors, router
from signalbox_gateway.settings import GatewaySettings


@dataclass(frozen=True)
class Here:
    """Stands where the gateway's `Clients` stand, so that its own dependencies find it."""

    service: AuthService
    identity: Identity


auth = router("/api/v1/auth", "auth")
projects = router("/api/v1/projects", "projects")


@auth.get("/me", response_model=contract.User, responses=errors(401, 503))
async def me(asker: CurrentAsker, clients: ClientsHere) -> Response:
    return _encoded(await _service(clients).me(_principal(asker)))


@projects.get("/{project_id}", response_model=contract.Project, responses=errors(401, 404, 422, 503))
async def get_project(project_id: uuid.UUID, asker: CurrentAsker, clients: ClientsHere) -> Response:
    return _encoded(await _service(clients).project(_principal(asker, project_id)))


def _service(here: object) -> AuthService:
    assert isinstance(here, Here)
    return here.service


def _principal(asker: Asker, project: uuid.UUID | None = None) -> Principal:
    return Principal(asker.user_id, asker.username, contract.PlatformRole.USER, project)


def _encoded(reply: Reply) -> Response:
    return Response(reply.encode(), media_type="application/json")


async def _problem(_request: Request, error: Exception) -> Response:
    return problems.of_error(translate(error) or SignalboxError())


def build(settings: AuthSettings, edge: GatewaySettings) -> FastAPI:
    telemetry.configure("baseline", settings.instance, settings.log_level, settings.otel_endpoint)
    public: dict[str, bytes] = {}

    async def find(kid: str) -> bytes | None:
        return public.get(kid)

    async def keep(kid: str, key: bytes) -> None:
        public[kid] = key

    keys = KeyRing(find)
    database = Database(settings)
    service = AuthService(
        database,
        Store(),
        Passwords(settings),
        Sealer(settings.secret_key.get_secret_value(), "auth/signing-keys"),
        keys,
        access_life=timedelta(minutes=settings.access_token_minutes),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await service.load_keys(keep)
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
    # The gateway's own check and cache of access tokens; it needs nothing of the bus but its keys.
    app.state.clients = Here(service, Identity(cast("Bus", SimpleNamespace(keys=keys))))
    problems.install(app)
    app.add_exception_handler(DomainError, _problem)
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
