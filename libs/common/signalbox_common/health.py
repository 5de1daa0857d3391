"""Health and metrics of one process, on a private port."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from signalbox_common import __version__, telemetry
from signalbox_common.contracts.health import HealthReport
from signalbox_common.http import HttpServer
from signalbox_common.settings import ServiceSettings

Check = Callable[[], Awaitable[None]]
Reason = Callable[[], str | None]
CHECK_LIMIT = 1.0
NOT_CONFIGURED = "not_configured"
_ELSEWHERE = ("vault", "spire")
"""What other installations have, and ours goes without: services keep keys and secrets themselves."""


class Health:
    """Looks at each dependency when asked; a service is ready when all of them answer."""

    def __init__(
        self,
        settings: ServiceSettings,
        checks: dict[str, Check],
        degraded_by: dict[str, Reason] | None = None,
    ) -> None:
        self._settings = settings
        self.checks = checks
        self.degraded_by: dict[str, Reason] = {
            "telemetry": lambda: telemetry.state.degraded,
            **(degraded_by or {}),
        }
        """What does not keep the service from working, but should be known."""
        self.measure: Callable[[], Awaitable[None]] = _nothing_to_measure
        """Called before metrics are told: what they show is counted only when somebody looks."""
        self.started = False

    async def report(self) -> HealthReport:
        results = dict(
            zip(self.checks, await asyncio.gather(*map(_outcome, self.checks.values())), strict=True)
        )
        ready = self.started and all(result == "ok" for result in results.values())
        reasons = {name: reason() for name, reason in self.degraded_by.items()}
        return HealthReport(
            service=self._settings.service,
            status="ok" if ready else "unavailable",
            version=__version__,
            instance=self._settings.instance,
            checks=results | dict.fromkeys(_ELSEWHERE, NOT_CONFIGURED),
            degraded={name: reason for name, reason in reasons.items() if reason is not None},
        )


async def _nothing_to_measure() -> None:
    """Most numbers count themselves."""


async def _outcome(check: Check) -> str:
    try:
        await asyncio.wait_for(check(), CHECK_LIMIT)
    except TimeoutError:
        return "no answer within a second"
    except Exception as error:  # noqa: BLE001 - the report is the place where it shows
        return type(error).__name__
    return "ok"


class HealthServer(HttpServer):
    """`/health` (alive), `/health/ready` (and of use), `/metrics`."""

    def __init__(self, settings: ServiceSettings, health: Health) -> None:
        async def alive(_request: Request) -> Response:
            return JSONResponse({"status": "ok"})

        async def ready(_request: Request) -> Response:
            report = await health.report()
            status = 200 if report.status == "ok" else 503
            return Response(report.encode(), status, media_type="application/json")

        async def metrics(_request: Request) -> Response:
            with suppress(Exception):  # what counts itself is told in any case
                await asyncio.wait_for(health.measure(), CHECK_LIMIT)
            return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

        app = Starlette(
            routes=[Route("/health", alive), Route("/health/ready", ready), Route("/metrics", metrics)]
        )
        super().__init__(app, _listen(settings))


def _listen(settings: ServiceSettings) -> socket.socket:
    if settings.health_fd is not None:
        return socket.socket(fileno=settings.health_fd)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.health_host, settings.health_port))
    listener.listen(64)
    return listener
