"""Health of the gateway, with and without what stands behind it."""

import pytest

from signalbox_common.programs import OWNERS
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.live import fanout

CHECKS = {"nats": "ok", "redis": "ok", "vault": "not_configured", "spire": "not_configured"}

pytestmark = pytest.mark.fresh  # services come and go


async def test_the_routes_of_health(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        for path in ("/health", "/api/v1/health", "/api/v1/liveness"):
            assert (await http.get(path)).json() == {"status": "ok"}
        for path in ("/api/v1/readiness", "/api/v1/health/ready"):
            ready = await http.get(path)
            assert (ready.status_code, ready.json()["status"]) == (200, "ok")
            assert ready.json()["checks"] == {"database": "ok"} | CHECKS
        detailed = (await http.get("/api/v1/health/detailed")).json()
        assert detailed["dependencies"] == CHECKS
        assert set(detailed["services"]) == set(OWNERS)
        assert detailed["services"]["auth"]["state"] == "ok"
        assert detailed["services"]["auth"]["latencyMs"] > 0
        assert detailed["services"]["git"]["state"] == "unavailable"
        assert detailed["status"] == "degraded"
        assert "collector" in detailed["degraded"]["telemetry"]
        root = (await http.get("/")).json()
        assert root["name"] == "Signalbox"


async def test_without_a_fan_out_events_wait_and_health_says_so(installation: Installation) -> None:
    async with installation.gateway() as http:

        async def why() -> str | None:
            degraded = (await http.get("/api/v1/health/detailed")).json()["degraded"]
            said: str | None = degraded.get("live")
            return said

        async def missing() -> bool:
            return "no fan-out" in (await why() or "")

        async def there() -> bool:
            return await why() is None

        await eventually(missing, what="a reason")
        async with fanout(installation):
            await eventually(there, what="no reason any more")
        await eventually(missing, what="the reason again")


async def test_a_missing_collector_is_a_reason_and_no_error(installation: Installation) -> None:
    settings = {"otel_endpoint": "http://127.0.0.1:1"}
    async with installation.running_auth(), installation.gateway(**settings) as http:
        assert (await http.get("/api/v1/health/ready")).status_code == 200


async def test_documents_can_be_hidden(installation: Installation) -> None:
    async with installation.gateway() as http:
        document = (await http.get("/openapi.json")).json()
        assert "/api/v1/projects" in document["paths"]
        for page in ("/docs", "/redoc", "/api/docs"):
            assert (await http.get(page)).status_code == 200
    async with installation.gateway(docs=False) as http:
        for page in ("/openapi.json", "/docs", "/redoc", "/api/docs"):
            assert (await http.get(page)).status_code == 404
