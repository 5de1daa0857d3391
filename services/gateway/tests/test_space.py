"""What is refused where the disk fills up, and what is not."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from signalbox_common.space import DiskSpace
from signalbox_gateway.space import DiskGuard

NEVER_ENOUGH = 1.1


async def _reached(_request: Request) -> Response:
    return PlainTextResponse("reached")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/v1/projects", 507),
        ("PUT", "/api/v1/skills/x/package", 507),
        ("PATCH", "/api/v1/schedules/1", 507),
        ("GET", "/api/v1/projects", 200),
        ("DELETE", "/api/v1/projects/1", 200),
        ("POST", "/api/v1/tasks/1/cancel", 200),
        ("POST", "/api/v1/auth/login", 200),
        ("GET", "/health", 200),
    ],
)
async def test_whatever_makes_room_is_still_taken(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    inner = Starlette(routes=[Route("/{path:path}", _reached, methods=[method])])
    guarded = DiskGuard(inner, space=DiskSpace(tmp_path, NEVER_ENOUGH))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://gateway") as http:
        answer = await http.request(method, path)
    assert answer.status_code == status
    if status == 507:
        assert answer.json()["code"] == "disk_full"
