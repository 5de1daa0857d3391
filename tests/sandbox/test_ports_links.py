"""Links to what listens in a sandbox, for whoever has them."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from signalbox_common.keys import decode_raw
from signalbox_common.testing import eventually
from signalbox_gateway import previews
from signalbox_gateway.settings import GatewaySettings
from tests.support.installation import Installation
from tests.support.ports import PORT, served
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
async def scene(shared_installation: Installation) -> AsyncIterator[SandboxScene]:
    async with sandboxes_of(shared_installation) as scene, scene.service():
        yield scene


@pytest.fixture(scope="module")
async def sandbox(scene: SandboxScene) -> str:
    return await served(scene)


async def link_of(scene: SandboxScene, sandbox: str, **body: Any) -> str:
    made = await scene.http.post(
        f"{SANDBOXES}/{sandbox}/ports/{PORT}/links", json=body, headers=scene.headers
    )
    assert made.status_code == 201, made.text
    url: str = made.json()["url"]
    return url


async def test_a_link_is_for_whoever_has_it(scene: SandboxScene, sandbox: str) -> None:
    url = await link_of(scene, sandbox)
    async with httpx.AsyncClient(timeout=20) as anybody:
        answer = await anybody.get(f"{url}page?x=1")
        assert answer.json()["path"] == "/page?x=1"
        assert answer.headers["content-security-policy"] == previews.POLICY
        assert answer.headers["access-control-allow-origin"] == "*", "its own pages read it so"
        assert "set-cookie" not in answer.headers
        preflight = {"Origin": "null", "Access-Control-Request-Method": "PUT"}
        assert (await anybody.options(f"{url}page", headers=preflight)).status_code == 204
        assert (await anybody.head(f"{url}page")).status_code == 200
        bare = await anybody.get(url.rstrip("/"))
        assert (bare.status_code, bare.headers["location"]) == (
            308,
            url.removeprefix(f"http://{scene.address}"),
        )
        broken = url.rstrip("/")
        for changed in (
            broken[:-1] + ("A" if broken[-1] != "A" else "B"),
            broken[:-30],
            f"http://{scene.address}/preview/x",
        ):
            refused = await anybody.get(f"{changed}/")
            assert (refused.status_code, refused.json()["code"]) == (410, "preview_ended")


async def test_a_link_ends_with_its_token(scene: SandboxScene, sandbox: str) -> None:
    url = await link_of(scene, sandbox)
    made = await scene.http.post(
        f"{SANDBOXES}/{sandbox}/ports/{PORT}/links", json={"expiresIn": 60}, headers=scene.headers
    )
    async with httpx.AsyncClient(timeout=20) as anybody:
        assert (await anybody.get(made.json()["url"])).status_code == 200
        revoked = await scene.http.delete(
            f"/api/v1/auth/tokens/{made.json()['tokenId']}", headers=scene.headers
        )
        assert revoked.status_code == 204

        async def ended() -> bool:
            return (await anybody.get(made.json()["url"])).status_code == 410

        await eventually(ended, what="with its token the link has ended")
        assert (await anybody.get(url)).status_code == 200
    for bad in ({"expiresIn": 1}, {"expiresIn": 10**9}):
        answer = await scene.http.post(
            f"{SANDBOXES}/{sandbox}/ports/{PORT}/links", json=bad, headers=scene.headers
        )
        assert answer.status_code == 422


async def test_a_link_opens_nothing_else(scene: SandboxScene, sandbox: str) -> None:
    """What it says is sealed: neither its token nor another port can be read from it, or written into it."""
    url = await link_of(scene, sandbox)
    link = url.rstrip("/").rpartition("/")[2]
    assert b"sbx_pat_" not in decode_raw(link)
    answer = await scene.http.get(f"{SANDBOXES}/{sandbox}", headers={"Authorization": f"Bearer {link}"})
    assert answer.status_code == 401


async def test_what_is_shown_ends_with_its_link(scene: SandboxScene, sandbox: str) -> None:
    made = await scene.http.post("/api/v1/auth/tokens", json={"name": "short"}, headers=scene.headers)
    secret = scene.installation.settings(GatewaySettings).secret_key.get_secret_value()
    until = datetime.now(UTC) + timedelta(seconds=2)
    link = previews.Links(secret).make(made.json()["token"], uuid.UUID(sandbox), PORT, until)
    began = asyncio.get_running_loop().time()

    async def watched() -> None:
        address = f"http://{scene.address}/preview/{link}/slow"
        async with httpx.AsyncClient(timeout=20) as anybody, anybody.stream("GET", address) as answer:
            assert answer.status_code == 200
            async for _ in answer.aiter_raw():
                pass

    with pytest.raises(httpx.RemoteProtocolError):
        await watched()
    assert 1 < asyncio.get_running_loop().time() - began < 6
