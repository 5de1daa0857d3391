"""What listens in a sandbox, shown to its members."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from signalbox_common.dataplane import tunnel
from signalbox_common.testing import eventually
from signalbox_gateway import previews
from signalbox_sandbox.data import ports
from tests.support.installation import Installation
from tests.support.ports import PORT, SERVER, at, serve, served
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
async def scene(shared_installation: Installation) -> AsyncIterator[SandboxScene]:
    async with sandboxes_of(shared_installation) as scene, scene.service():
        yield scene


@pytest.fixture(scope="module")
async def sandbox(scene: SandboxScene) -> str:
    return await served(scene)


async def test_what_it_answers_is_shown(scene: SandboxScene, sandbox: str) -> None:
    answer = await at(scene, sandbox, "some/page%20here?q=1&q=2")
    said = answer.json()
    assert (said["method"], said["path"]) == ("GET", "/some/page%20here?q=1&q=2")
    assert answer.headers["x-own"] == "kept"
    body = b"y" * 300_000
    assert (await at(scene, sandbox, "", method="POST", content=body)).json()["length"] == len(body)
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await at(scene, sandbox, "x", method=method)).json()["method"] == method
    large = await at(scene, sandbox, "large", headers=scene.headers | {"Accept-Encoding": "identity"})
    assert len(large.content) == 64 << 20
    assert int(large.headers["content-length"]) == 64 << 20


async def test_nothing_says_who_looks_and_nothing_comes_out_that_would_hold_here(
    scene: SandboxScene, sandbox: str
) -> None:
    cookies = {"signalbox_access": "a", "other": "b"}
    headers = scene.headers | {"Referer": "https://signalbox.example/secret", "X-Forwarded-For": "1.2.3.4"}
    scene.http.cookies.update(cookies)
    try:
        answer = await at(scene, sandbox, "", headers=headers)
    finally:
        for name in cookies:
            scene.http.cookies.delete(name)
    seen = answer.json()["headers"]
    assert not {"authorization", "cookie", "referer", "x-forwarded-for"} & seen.keys(), seen
    assert seen["host"] == f"localhost:{PORT}"
    assert seen["x-forwarded-prefix"] == f"{SANDBOXES}/{sandbox}/ports/{PORT}"
    assert answer.headers["content-security-policy"] == previews.POLICY
    assert "allow-same-origin" not in previews.POLICY
    for name in ("set-cookie", "clear-site-data", "access-control-allow-origin"):
        assert name not in answer.headers, name
    moved = await at(scene, sandbox, "moved", follow_redirects=False)
    assert moved.headers["location"] == f"{SANDBOXES}/{sandbox}/ports/{PORT}/there?a=1"


async def test_it_ends_with_whoever_looks(scene: SandboxScene, sandbox: str) -> None:
    """Nobody is left in the sandbox with a connection that nobody reads."""
    url = f"http://{scene.address}{SANDBOXES}/{sandbox}/ports/{PORT}/"
    count = f"ls /proc/net >/dev/null; grep -c ':{PORT:04X} .* 01 ' /proc/net/tcp || true"
    async with httpx.AsyncClient(timeout=20) as client:
        for path in ("slow", "silent"):
            with pytest.raises(httpx.ReadTimeout):
                await client.get(url + "silent", headers=scene.headers, timeout=0.5)
            async with client.stream("GET", url + "slow", headers=scene.headers) as answer:
                async for chunk in answer.aiter_raw():
                    assert chunk.startswith(b"data: tick")
                    break
            _ = path
        short = client.stream("GET", url + "short", headers=scene.headers)
        with pytest.raises(httpx.RemoteProtocolError):
            async with short as answer:
                await answer.aread()

    async def nobody() -> bool:
        return (await scene.said(sandbox, count)).strip() == "0"

    await eventually(nobody, what="the connections inside are closed")


async def test_events_have_begun_before_the_first_one(scene: SandboxScene, sandbox: str) -> None:
    url = f"http://{scene.address}{SANDBOXES}/{sandbox}/ports/{PORT}/later"
    async with (
        httpx.AsyncClient(timeout=10) as client,
        client.stream("GET", url, headers=scene.headers) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
async def test_wherever_it_listens(scene: SandboxScene, host: str) -> None:
    made = await scene.create()
    if ":" in host:
        script = SERVER.replace(
            "ThreadingHTTPServer((",
            "import socket\nclass V6(ThreadingHTTPServer):\n    address_family = socket.AF_INET6\nV6((",
        )
        started = await scene.http.post(
            f"{SANDBOXES}/{made['id']}/processes",
            json={"argv": ["python3", "-c", script, host, str(PORT)]},
            headers=scene.headers,
        )
        assert started.status_code == 201

        async def listens() -> bool:
            return (await at(scene, made["id"], "")).status_code == 200

        await eventually(listens, what="it listens")
    else:
        await serve(scene, made["id"], host)
    assert (await at(scene, made["id"], "")).json()["path"] == "/"


async def test_where_nobody_listens(scene: SandboxScene, sandbox: str) -> None:
    for port, code in ((9, 409), (0, 422), (65_536, 422)):
        answer = await at(scene, sandbox, "", port)
        assert answer.status_code == code, answer.text
    assert (await at(scene, sandbox, "", 9)).json()["code"] == "nobody_listens"
    # What is no HTTP is answered with an error, not with silence.
    await scene.http.post(
        f"{SANDBOXES}/{sandbox}/processes",
        json={
            "command": "python3 -c \"import socket; s = socket.create_server(('127.0.0.1', 7000));\n"
            "while True: c = s.accept()[0]; c.sendall(b'SSH-2.0-x\\r\\n'); c.close()\""
        },
        headers=scene.headers,
    )

    async def answered() -> bool:
        return (await at(scene, sandbox, "", 7000)).status_code == 503

    await eventually(answered, what="it says that this is no HTTP")
    paused = await scene.create()
    await scene.change(paused["id"], "pause")
    assert (await at(scene, paused["id"], "")).json()["code"] == "sandbox_paused"


async def test_one_sandbox_has_so_many(
    scene: SandboxScene, sandbox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "MOST", 2)
    url = f"http://{scene.address}{SANDBOXES}/{sandbox}/ports/{PORT}/slow"
    async with httpx.AsyncClient(timeout=20) as client:
        one = client.stream("GET", url, headers=scene.headers)
        async with one, client.stream("GET", url, headers=scene.headers):
            refused = await at(scene, sandbox, "")
            assert (refused.status_code, refused.json()["code"]) == (409, "too_many_connections")

    async def again() -> bool:
        return (await at(scene, sandbox, "")).status_code == 200

    await eventually(again, what="those that ended count no more")


async def test_who_takes_no_connection_holds_nobody_up(scene: SandboxScene) -> None:
    """A full backlog is that program's own: what else is asked of its sandbox is done meanwhile."""
    made = await scene.create()
    script = (
        "import socket, time\n"
        "held = []\n"
        "for family, host in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1')):\n"
        "    s = socket.socket(family); s.bind((host, 7001)); s.listen(0); held.append(s)\n"
        "time.sleep(600)"
    )
    await scene.http.post(
        f"{SANDBOXES}/{made['id']}/processes", json={"argv": ["python3", "-c", script]}, headers=scene.headers
    )
    url = f"http://{scene.address}{SANDBOXES}/{made['id']}/ports/7001/"
    async with httpx.AsyncClient(timeout=60) as client:
        waiting = [asyncio.create_task(client.get(url, headers=scene.headers)) for _ in range(6)]
        for number in range(5):
            assert await scene.said(made["id"], f"echo {number}") == f"{number}\n"
        done, _ = await asyncio.wait(waiting, timeout=15, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().json()["code"] for task in done} == {"nobody_listens"}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_ways_out_are_no_ports(scene: SandboxScene) -> None:
    """Whoever has a link does not speak through the doors of a sandbox."""
    made = await scene.create(doors=[{"name": "echo", "port": 5000, "target": "echo"}])
    for port in (3128, 5000):
        refused = await at(scene, made["id"], "", port)
        assert (refused.status_code, refused.json()["code"]) == (409, "nobody_listens")


async def test_who_reads_nothing_keeps_nothing_open(
    scene: SandboxScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Much is sent to somebody who answers and does not listen, and who sent it has left."""
    monkeypatch.setattr(ports, "STALLED", 0.5)
    monkeypatch.setattr(ports, "MOST", 1)
    monkeypatch.setattr(tunnel, "_TAKEN_WITHIN", 0.5)
    made = await scene.create()
    script = (
        "import socket, time\n"
        "s = socket.create_server(('127.0.0.1', 7002)); held = []\n"
        "while True:\n"
        "    c = s.accept()[0]; held.append(c)\n"
        "    c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 9\\r\\n\\r\\nx')"
    )
    await scene.http.post(
        f"{SANDBOXES}/{made['id']}/processes", json={"argv": ["python3", "-c", script]}, headers=scene.headers
    )
    url = f"http://{scene.address}{SANDBOXES}/{made['id']}/ports/7002/"

    headers = scene.headers | {"Accept-Encoding": "identity"}

    async def code(content: bytes) -> int:
        async with httpx.AsyncClient(timeout=1) as client:
            try:
                async with client.stream("POST", url, content=content, headers=headers) as answer:
                    return answer.status_code
            except httpx.TransportError:
                return 0

    async def listens() -> bool:
        return await code(b"") == 200

    await eventually(listens, what="it listens")
    await code(b"x" * (16 << 20))

    async def again() -> bool:
        return await code(b"") == 200

    await eventually(again, what="the connection that nobody has any more is closed")


# -- WebSockets --------------------------------------------------------------------------------------------

ECHO = r"""
import base64, hashlib, socket, struct, sys, threading
def read(line, size):
    data = b""
    while len(data) < size:
        more = line.recv(size - len(data))
        if not more: raise SystemExit
        data += more
    return data
def serve(line):
    head = b""
    while not head.endswith(b"\r\n\r\n"): head += read(line, 1)
    lines = dict(part.lower().split(b": ", 1) for part in head.split(b"\r\n")[1:] if b": " in part)
    key = next(part[19:] for part in head.split(b"\r\n") if part.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    line.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    def send(kind, data):
        size = len(data)
        head = bytes([size]) if size < 126 else b"\x7e" + struct.pack("!H", size)
        line.sendall(bytes([0x80 | kind]) + head + data)
    send(1, b"origin " + lines.get(b"origin", b"none") + b" cookie " + lines.get(b"cookie", b"none"))
    while True:
        kind, size = read(line, 2)
        size &= 127
        if size == 126: size, = struct.unpack("!H", read(line, 2))
        mask = read(line, 4)
        data = bytes(b ^ mask[i % 4] for i, b in enumerate(read(line, size)))
        if kind & 15 == 8:
            send(8, data); return
        if data == b"bye":
            send(8, struct.pack("!H", 4321)); return
        send(kind & 15, data)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True: threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"""


async def test_messages_go_both_ways(scene: SandboxScene) -> None:
    made = await scene.create()
    await scene.http.post(
        f"{SANDBOXES}/{made['id']}/processes",
        json={"argv": ["python3", "-c", ECHO, "8001"]},
        headers=scene.headers,
    )
    url = f"ws://{scene.address}{SANDBOXES}/{made['id']}/ports/8001/ws"

    async def opened() -> bool:
        try:
            async with websockets.connect(url, additional_headers=scene.headers):
                return True
        except InvalidHandshake:
            return False

    await eventually(opened, what="it takes WebSockets")
    async with websockets.connect(url, additional_headers=scene.headers) as line:
        assert await line.recv() == "origin http://localhost:8001 cookie none"
        await line.send("text")
        assert await line.recv() == "text"
        await line.send(b"\x00\x01" * 20_000)
        assert await line.recv() == b"\x00\x01" * 20_000
        await line.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            await line.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4321
    with pytest.raises((InvalidHandshake, ConnectionClosed)):
        async with websockets.connect(url.replace("8001", "8002"), additional_headers=scene.headers) as line:
            await line.recv()
