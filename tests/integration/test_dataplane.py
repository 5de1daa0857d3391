"""Bytes from service to service: whole, in order, for whom may have them, and no longer than that."""

import asyncio
import hashlib
import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from signalbox_common.bus import Envelope
from signalbox_common.contracts import auth
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.dataplane import DataClient
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from tests.support.bytes_lab import CHUNK, FOLLOW, PUT, READ, START
from tests.support.bytes_scene import Scene, pieces, scene_of, server_of, some_bytes
from tests.support.installation import Installation
from tests.support.pace import promptly
from tests.support.relay import relay

MIB = 1024 * 1024


@pytest.fixture
async def scene(installation: Installation, tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene_of(installation, tmp_path) as found:
        yield found


async def whole(client: DataClient, route: DataRoute, **names: str) -> bytes:
    return b"".join([chunk async for chunk in client.read(route, **names)])


async def test_bytes_go_in_and_come_out(scene: Scene) -> None:
    content = some_bytes(5 * MIB + 7)
    name = hashlib.sha256(content).hexdigest()
    async with scene.client(await scene.grant()) as client:
        assert await client.write(PUT, lambda: pieces(content), sha256=name) == b"stored"
        assert await whole(client, READ, name=name) == content
        assert (
            b"".join([chunk async for chunk in client.read(READ, 5 * MIB, name=name)]) == content[5 * MIB :]
        )
    socket = Path(scene.socket.removeprefix("unix:"))
    assert socket.stat().st_mode & 0o777 == 0o600


async def test_what_is_not_what_its_name_says_is_not_kept(scene: Scene) -> None:
    async with scene.client(await scene.grant()) as client:
        with pytest.raises(SignalboxError) as refused:
            await client.write(PUT, lambda: pieces(b"something else"), sha256="0" * 64)
    assert refused.value.code == "other_digest"
    assert list(scene.folder().iterdir()) == []


async def test_who_may_not_gets_nothing(scene: Scene) -> None:
    (scene.folder() / "a").write_bytes(b"secret")
    viewer = await scene.http.join(scene.owner, scene.project, "viewer")
    stranger = await scene.http.sign_up()
    elsewhere = await scene.http.project(stranger)

    async def refused(grant: str, route: DataRoute = READ, **names: str) -> tuple[int, str]:
        async with scene.client(grant) as client:
            with pytest.raises(SignalboxError) as error:
                await whole(client, route, **(names or {"name": "a"}))
        return error.value.status, error.value.code

    assert await refused("nonsense") == (401, "unauthenticated")
    assert (await refused(await scene.grant(audience="git")))[0] == 401
    assert await refused(await scene.grant(stranger, project=elsewhere)) == (404, "not_found")
    assert await refused(await scene.grant(viewer), FOLLOW) == (403, "role_too_low")
    async with scene.client(await scene.grant(viewer)) as client:
        assert await whole(client, READ, name="a") == b"secret"
    for name in ("..", "../a", "%2e%2e/a", "", "b"):
        assert (await refused(await scene.grant(), READ, name=name))[0] in (404, 405)
    # Under a delegation the verbs count.
    proof = await scene.grant()
    asked = auth.Delegate(service="tasks", proof=SecretStr(proof), run="run-1", verbs=(READ.does,))
    secret = (await scene.tasks.ask(asked, Envelope(uuid7(), "digest"))).value().delegation
    wanted = auth.DelegatedGrant(delegation=SecretStr(secret), audience="tasks")
    delegated = (await scene.tasks.query(wanted)).value().grant
    async with scene.client(delegated) as client:
        assert await whole(client, READ, name="a") == b"secret"
    assert await refused(delegated, FOLLOW) == (403, "not_delegated")


async def test_an_open_response_is_cut_when_its_grant_is_taken_back(scene: Scene) -> None:
    member = await scene.http.join(scene.owner, scene.project, "developer")
    taken = 0
    following = asyncio.Event()

    async def follow() -> None:
        nonlocal taken
        async with scene.client(await scene.grant(member)) as client:
            async for chunk in client.read(FOLLOW):
                taken += len(chunk)
                following.set()

    reading = asyncio.create_task(follow())
    await following.wait()
    assert (await scene.http.post("/api/v1/auth/logout", headers=member)).is_success

    async def cut() -> bool:
        return reading.done()

    await promptly(cut)
    with pytest.raises(SignalboxError) as over:
        await reading
    assert over.value.code == "grant_revoked", "cut, and then not let in again"


async def test_what_was_cut_before_it_began_is_refused(scene: Scene) -> None:
    """The grant is taken back while the handler still thinks."""
    member = await scene.http.join(scene.owner, scene.project, "developer")
    thinking = asyncio.Event()

    async def think() -> None:
        thinking.set()
        await asyncio.Event().wait()

    scene.lab.before_start = think
    async with scene.client(await scene.grant(member), fence=1) as client:
        asking = asyncio.create_task(client.write(START, lambda: pieces(b"{}"), key="never"))
        await thinking.wait()
        assert (await scene.http.post("/api/v1/auth/logout", headers=member)).is_success
        with pytest.raises(SignalboxError) as refused:
            await asking
    assert (refused.value.status, refused.value.code) == (401, "grant_revoked")
    assert scene.lab.started == []


async def test_whoever_was_overtaken_is_fenced_off(scene: Scene) -> None:
    grant = await scene.grant()
    for fence, code in ((2, None), (1, "fenced"), (2, None), (None, "fenced")):
        async with scene.client(grant, fence=fence) as client:
            if code is None:
                assert await client.write(START, lambda: pieces(b"{}"), key=f"epoch-{fence}") == b"started"
            else:
                with pytest.raises(SignalboxError) as refused:
                    await client.write(START, lambda: pieces(b"{}"), key="late")
                assert (refused.value.status, refused.value.code) == (409, code)
    assert scene.lab.started == ["epoch-2", "epoch-2"]


async def test_a_slow_reader_holds_up_only_itself(scene: Scene) -> None:
    """What it does not take waits at the one who sends; nothing piles up."""
    (scene.folder() / "a").write_bytes(some_bytes(MIB))
    grant = await scene.grant()
    async with scene.client(grant) as slow, scene.client(grant) as quick:
        stream = slow.read(FOLLOW)
        await anext(stream)

        async def stands_still() -> bool:
            before = scene.lab.sent
            await asyncio.sleep(0.1)
            return scene.lab.sent == before

        await eventually(stands_still, what="the sender waits")
        assert scene.lab.sent < 16 * MIB
        assert len(await whole(quick, READ, name="a")) == MIB
        await stream.aclose()


@pytest.mark.parametrize(
    ("cuts", "size"), [(10, 8 * MIB), pytest.param(100, 64 * MIB, marks=pytest.mark.proof)]
)
async def test_cut_and_gone_on_without_a_byte_lost_or_doubled(scene: Scene, cuts: int, size: int) -> None:
    content = some_bytes(size)
    name = hashlib.sha256(content).hexdigest()
    (scene.folder() / name).write_bytes(content)
    listening = server_of(scene.lab, scene.tasks)
    await listening.start("127.0.0.1:0")
    try:
        async with relay(f"127.0.0.1:{listening.port}") as between:
            digest, taken, made = hashlib.sha256(), 0, 0
            async with scene.client(await scene.grant(), f"http://{between.address}") as client:
                async for chunk in client.read(READ, name=name):
                    digest.update(chunk)
                    taken += len(chunk)
                    if made < cuts and taken > size * made // cuts:
                        made += 1
                        between.cut()
            assert (taken, digest.hexdigest()) == (size, name)
            print(f"\n{made} cuts in {size // MIB} MiB: not a byte lost or doubled")
            assert made == cuts
    finally:
        await listening.stop()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("size", [64 * MIB, pytest.param(1024 * MIB, marks=pytest.mark.proof)])
async def test_much_takes_little_memory(scene: Scene, size: int) -> None:
    piece = some_bytes(CHUNK)
    digest = hashlib.sha256()
    for _ in range(size // CHUNK):
        digest.update(piece)
    name = digest.hexdigest()

    async def source() -> AsyncIterator[bytes]:
        for _ in range(size // CHUNK):
            yield piece

    async with scene.client(await scene.grant()) as client:
        # Once before, so that what is needed in any case is there.
        await client.write(PUT, lambda: pieces(piece), sha256=hashlib.sha256(piece).hexdigest())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        await client.write(PUT, source, sha256=name)
        written = time.monotonic()
        taken = 0
        async for chunk in client.read(READ, name=name):
            taken += len(chunk)
        read = time.monotonic()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"\n{size // MIB} MiB in at {size / MIB / (written - began):.0f} MB/s, hashed on the way, "
        f"out at {size / MIB / (read - written):.0f} MB/s; memory grew by {grown:.0f} MiB"
    )
    assert taken == size
    assert grown < 32
