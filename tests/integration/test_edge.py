"""What every answer has, wherever it comes from, and what is logged of it."""

import json

import httpx
import pytest
from fastapi import APIRouter

from signalbox_common import telemetry
from signalbox_gateway import edge
from signalbox_gateway.edge import SECURITY_HEADERS
from tests.support.installation import Installation

ORIGIN = {"Origin": "http://localhost:3000"}
SEVEN = {*SECURITY_HEADERS, "Content-Security-Policy"}

broken = APIRouter()


@broken.get("/api/v1/broken")
async def _fails() -> None:
    raise RuntimeError("a fault of ours")


async def test_every_answer_is_safe_and_readable(installation: Installation) -> None:
    """Also where the edge itself answers: nothing in the application has seen the request then."""
    async with installation.gateway(broken) as http:
        answers = [
            (200, await http.get("/health", headers=ORIGIN)),
            (404, await http.get("/api/v1/nowhere", headers=ORIGIN)),
            (401, await http.get("/api/v1/projects", headers=ORIGIN)),
            (413, await http.post("/api/v1/auth/login", content=b"x" * 600_000, headers=ORIGIN)),
            (500, await http.get("/api/v1/broken", headers=ORIGIN)),
        ]
    assert len(SEVEN) == 7
    for status, answer in answers:
        assert answer.status_code == status
        assert {name.lower() for name in SEVEN} <= set(answer.headers), status
        assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"], status
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["server-timing"].startswith("gateway;dur=")


@pytest.fixture
def _fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes by the level of this test: others of this process have used the one that is there."""
    monkeypatch.setattr(edge, "log", telemetry.get_logger())


@pytest.mark.usefixtures("_fresh_log")
async def test_each_request_is_one_line_of_the_log(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    async with installation.running_auth(), installation.gateway(log_level="info") as http:
        me = await http.sign_up()
        project = await http.project(me)
        await http.get(f"/api/v1/projects/{project}", headers=me | {"X-Request-ID": "the-one"})
        await http.get("/health")
        who = (await http.me(me))["id"]
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"request"' in line]
    lines = [line for line in lines if line["event"] == "request"]
    assert "/health" not in {line["route"] for line in lines}
    (line,) = (line for line in lines if line["request_id"] == "the-one")
    assert (
        line.items()
        >= {
            "level": "info",
            "method": "GET",
            "route": "/api/v1/projects/{project_id}",
            "status": 200,
            "user": who,
            "project": project,
        }.items()
    )
    assert line["milliseconds"] > 0
    assert line["correlation_id"] == "the-one"
    (registered,) = (line for line in lines if line["route"] == "/api/v1/auth/register")
    assert (registered["status"], registered["user"]) == (201, None)


@pytest.mark.usefixtures("_fresh_log")
async def test_a_hook_tells_no_log_its_address(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    async with installation.gateway(log_level="info") as http:
        answer: httpx.Response = await http.post("/api/v1/hooks/secret-address", json={})
    assert answer.status_code in (404, 503)
    out = capsys.readouterr().out
    assert "/api/v1/hooks/{token}" in out
    assert "secret-address" not in out
