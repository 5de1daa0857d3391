"""How the installation is: alive, ready, and in detail."""

import asyncio
import time
from typing import Any

from fastapi import FastAPI, Request
from redis.exceptions import RedisError
from starlette.responses import JSONResponse, Response

from signalbox_common import __version__
from signalbox_common.contracts.health import Health
from signalbox_common.errors import SignalboxError
from signalbox_common.programs import OWNERS
from signalbox_gateway.clients import Clients
from signalbox_gateway.live.node import Node
from signalbox_gateway.routes.answers import Responses
from signalbox_gateway.routes.router import Routes

routes = Routes("", "health")

DETAIL_PATIENCE = 1.5
_NOT_READY: Responses = {503: {"description": "Which check fails."}}


@routes.get("/", summary="Where am I")
async def root() -> dict[str, Any]:
    return {
        "name": "Signalbox",
        "version": __version__,
        "docs": "/docs",
        "openapi": "/openapi.json",
        "health": "/health",
        "api": "/api/v1",
    }


@routes.get("/health")
@routes.get("/api/v1/health")
@routes.get("/api/v1/liveness")
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@routes.get("/api/v1/readiness", responses=_NOT_READY)
@routes.get("/api/v1/health/ready", responses=_NOT_READY)
async def ready(request: Request) -> Response:
    """The gateway reaches what it cannot work without; of the database it knows what auth says."""
    found: dict[str, Any] = await request.app.state.readiness.get()
    return JSONResponse(found, 200 if found["status"] == "ok" else 503)


async def readiness(app: FastAPI) -> dict[str, Any]:
    """Asks who knows."""
    report, auth = await asyncio.gather(app.state.health.report(), _look(app.state.clients, "auth"))
    database = auth.get("checks", {}).get("database", "unknown: auth does not answer")
    return {"status": report.status, "checks": report.checks | {"database": database}}


@routes.get("/api/v1/health/detailed")
async def detailed(request: Request) -> dict[str, Any]:
    """Each dependency and service: its state, how fast it answered, and why it is degraded; as of the last
    second."""
    found: dict[str, Any] = await request.app.state.details.get()
    return found


async def details(app: FastAPI) -> dict[str, Any]:
    """Asks all of them."""
    clients: Clients = app.state.clients
    own = await app.state.health.report()
    services = dict(zip(OWNERS, await asyncio.gather(*(_look(clients, s) for s in OWNERS)), strict=True))
    live = await _look_at_live(app.state.node)
    healthy = own.status == "ok" and live is None and all(s["state"] == "ok" for s in services.values())
    return {
        "status": "ok" if healthy else "degraded",
        "version": __version__,
        "dependencies": own.checks,
        "services": services,
        "degraded": own.degraded | ({"live": live} if live is not None else {}),
    }


async def _look_at_live(node: Node) -> str | None:
    """Why events do not reach those who follow them; None where they do."""
    try:
        running = await asyncio.wait_for(node.heartbeat.count(), DETAIL_PATIENCE)
    except (RedisError, OSError, TimeoutError):
        return "Redis does not say whether a fan-out is running"
    return None if running else "no fan-out is running: events reach no stream, and wait"


async def _look(clients: Clients, service: str) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        report = (await clients.bus.query(Health(), service=service, timeout=DETAIL_PATIENCE)).value()
    except SignalboxError as error:
        return {"state": "unavailable", "latencyMs": None, "why": error.detail}
    return {
        "state": report.status,
        "latencyMs": round((time.perf_counter() - started) * 1000, 2),
        "checks": report.checks,
        "degraded": report.degraded,
    }
