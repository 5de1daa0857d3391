"""Composition root of the gateway."""

import asyncio
import socket as sockets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import uvloop
from fastapi import FastAPI

from signalbox_common import __version__, telemetry
from signalbox_common.bus import Bus
from signalbox_common.bus.storing import StoreProbe
from signalbox_common.health import Health, HealthServer
from signalbox_common.space import DiskSpace
from signalbox_gateway import openapi, pages, problems
from signalbox_gateway.addresses import Addresses
from signalbox_gateway.allowances import Allowances
from signalbox_gateway.clients import Clients
from signalbox_gateway.cookies import Cookies
from signalbox_gateway.event_quotas import EventQuotas
from signalbox_gateway.external import Reader
from signalbox_gateway.lately import Lately
from signalbox_gateway.live import websocket
from signalbox_gateway.live.node import Node
from signalbox_gateway.live.resource_watch import ChangeSignals
from signalbox_gateway.live.tickets import Tickets
from signalbox_gateway.measured_redis import MeasuredRedis
from signalbox_gateway.middlewares import Guards, add_middlewares
from signalbox_gateway.origins import Origins
from signalbox_gateway.previews import Links
from signalbox_gateway.routes import (
    accounts,
    agents,
    apply,
    attachments,
    audit,
    auth,
    bodies,
    deliveries,
    devices,
    git_credentials,
    health,
    info,
    invitations,
    keys,
    kinds,
    live,
    members,
    notifications,
    operations,
    packages,
    projects,
    pull_requests,
    repositories,
    repository_contents,
    repository_operations,
    runs,
    sandbox_files,
    sandbox_ports,
    sandbox_programs,
    sandbox_templates,
    sandboxes,
    schedules,
    sessions,
    tasks,
    tokens,
    triggers,
    usage,
    users,
)
from signalbox_gateway.server import server
from signalbox_gateway.settings import GatewaySettings
from signalbox_gateway.shedding import Lag

log = telemetry.get_logger()

ROUTES = (
    health,
    auth,
    sessions,
    tokens,
    devices,
    users,
    projects,
    invitations,
    members,
    accounts,
    audit,
    info,
    keys,
    packages,  # before kinds: `skills` is one of them
    kinds,
    apply,
    repositories,
    repository_contents,
    repository_operations,
    pull_requests,
    deliveries,
    git_credentials,
    sandboxes,
    sandbox_programs,
    sandbox_files,
    sandbox_ports,
    sandbox_templates,
    tasks,
    attachments,
    runs,
    agents,
    schedules,
    triggers,
    notifications,
    usage,
    operations,
    live,
)


def build(settings: GatewaySettings, *, started: Callable[[], object] | None = None) -> FastAPI:
    telemetry.configure(settings.service, settings.instance, settings.log_level, settings.otel_endpoint)
    bus = Bus(settings)
    redis = MeasuredRedis.at(settings.redis_url.get_secret_value(), patience=1.0)

    secret_key = settings.secret_key.get_secret_value()
    clients = Clients(bus, secret_key, command_patience=settings.command_patience)
    node = Node(clients, redis)
    # Half of what services keep free: until then, they say themselves what they cannot take.
    space = DiskSpace(settings.disk_path, settings.disk_least_free / 2)
    guards = Guards(Lag(), Allowances(redis), clients.identity, space)
    report = _health(settings, bus, redis, space)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        server = HealthServer(settings, report)
        server.start()
        connecting = asyncio.create_task(bus.start())
        connecting.add_done_callback(_started)
        node.start()
        if started is not None:
            started()
        try:
            async with guards.watching():
                yield
        finally:
            connecting.cancel()
            await node.stop()
            with suppress(Exception):
                await bus.stop()
            await redis.aclose()
            await server.stop()
            telemetry.shutdown()

    def _started(task: "asyncio.Task[None]") -> None:
        report.started = not task.cancelled() and task.exception() is None
        if report.started:
            log.info("started")

    app = FastAPI(
        title="Signalbox",
        version=__version__,
        description="A self-hosted control plane for AI coding agents.",
        lifespan=lifespan,
        openapi_url=pages.OPENAPI if settings.shows_docs else None,
        openapi_tags=[{"name": tag} for tag in dict.fromkeys(t for m in ROUTES for t in m.routes.tags)],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # Edge traces, counts and logs
    )
    app.state.health = report
    app.state.clients = clients
    app.state.node = node
    app.state.tickets = Tickets(redis, secret_key)
    app.state.event_quotas = EventQuotas(
        redis, events=settings.quota_events_per_day, size=settings.quota_event_bytes_per_day
    )
    _furnish(app, settings)
    problems.install(app)
    openapi.install(app)
    _add_routes(app, settings)
    limits = bodies.limits(module.routes for module in ROUTES)
    add_middlewares(app, settings, limits, guards)
    return app


def _health(settings: GatewaySettings, bus: Bus, redis: MeasuredRedis, space: DiskSpace) -> Health:
    async def check_redis() -> None:
        await redis.ping()

    telemetry.DISK_FREE.set_function(lambda: space.free)
    found = Health(
        settings,
        {"nats": StoreProbe(bus.connection).check, "redis": check_redis},
        {"keys": bus.buckets.keys.degraded, "disk": space.degraded},
    )
    found.measure = redis.measure
    return found


def _furnish(app: FastAPI, settings: GatewaySettings) -> None:
    """With what routes look up, beside what was connected to something before."""
    secret_key, clients = settings.secret_key.get_secret_value(), app.state.clients
    addresses = Addresses(settings.proxies())
    public = [settings.public_url.rstrip("/")] if settings.public_url is not None else []
    origins = Origins(secret_key, [*settings.origins(), *public], addresses)
    app.state.settings = settings
    app.state.cookies = Cookies(origins, addresses, settings.cookie_secure, settings.env == "development")
    app.state.external, app.state.preview_links = Reader(secret_key), Links(secret_key)
    app.state.change_signals = ChangeSignals(clients.bus)
    app.state.readiness = Lately(partial(health.readiness, app))
    app.state.details = Lately(partial(health.details, app))


def _add_routes(app: FastAPI, settings: GatewaySettings) -> None:
    # They are looked through in this order, and whoever follows something comes again and again.
    app.include_router(websocket.routes)
    for module in sorted(ROUTES, key=lambda module: module is not live):
        app.include_router(module.routes)
    pages.install_own_pages(app)
    if settings.shows_docs:
        pages.install(app)


def main() -> None:
    settings = GatewaySettings()
    fd = settings.listen_fd
    uvloop.run(
        server(build(settings), settings).serve([sockets.socket(fileno=fd)] if fd is not None else None)
    )
