"""Programs in sandboxes, through the gateway: run, followed, and spoken with at a terminal."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.sandboxes import SANDBOXES, SandboxScene, events_of, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")

MIB = 1024 * 1024
SSE = {"Accept": "text/event-stream"}


class Programs:
    """In one sandbox."""

    def __init__(self, scene: SandboxScene, sandbox: str) -> None:
        self.scene = scene
        self.id = sandbox
        self.path = f"{SANDBOXES}/{sandbox}"

    async def exec(self, command: str, **more: Any) -> Any:
        return await self.scene.exec(self.id, command, **more)

    async def start(self, command: str, key: str, *, status: int = 201) -> Any:
        body = {"command": command, "key": key}
        answer = await self.scene.http.post(f"{self.path}/processes", json=body, headers=self.scene.headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def process(self, key: str) -> Any:
        answer = await self.scene.http.get(f"{self.path}/processes/{key}", headers=self.scene.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def told(
        self, key: str, since: int = 0, headers: Mapping[str, str] = MappingProxyType({})
    ) -> list[tuple[str, Any]]:
        async with httpx.AsyncClient(base_url=f"http://{self.scene.address}", timeout=60) as client:
            path = f"{self.path}/processes/{key}/output?from={since}"
            async with client.stream("GET", path, headers={**self.scene.headers, **headers}) as response:
                assert response.status_code == 200, await response.aread()
                return [event async for event in events_of(response)]

    def terminal(self, **query: str) -> AbstractAsyncContextManager[ClientConnection]:
        parameters = str(httpx.QueryParams(query))
        address = f"ws://{self.scene.address}{self.path}/terminal?{parameters}"
        return connect(address, additional_headers=self.scene.headers, max_size=None)


@pytest.fixture(scope="module")
async def programs(shared_installation: Installation) -> AsyncIterator[Programs]:
    async with sandboxes_of(shared_installation) as scene, scene.service():
        made = await scene.create(timeout=3600)
        yield Programs(scene, made["id"])


def text_of(events: list[tuple[str, Any]], name: str) -> str:
    return "".join(data["text"] for kind, data in events if kind == name)


async def test_what_came_of_a_program(programs: Programs) -> None:
    done = await programs.exec("echo out; echo err >&2; exit 3")
    assert (done["exitCode"], done["signal"], done["timedOut"]) == (3, None, False)
    assert (done["stdout"], done["stderr"], done["truncated"]) == ("out\n", "err\n", False)
    assert done["durationMs"] >= 0
    killed = await programs.exec("kill -TERM $$")
    assert (killed["exitCode"], killed["signal"]) == (None, 15)
    late = await programs.exec("sleep 60", timeout=0.2)
    assert (late["timedOut"], late["signal"]) == (True, 9)


async def test_it_has_what_it_was_given(programs: Programs) -> None:
    body = {"argv": ["/bin/sh", "-c", 'cat; echo "$A"; pwd'], "env": {"A": "b c"}, "cwd": "/tmp"}
    answer = await programs.scene.http.post(
        f"{programs.path}/exec", json=body | {"stdin": "given\n"}, headers=programs.scene.headers
    )
    assert answer.json()["stdout"] == "given\nb c\n/tmp\n"
    nothing = await programs.exec("cat; echo end")
    assert nothing["stdout"] == "end\n"


async def test_more_output_than_an_answer_holds_is_cut(programs: Programs) -> None:
    done = await programs.exec("head -c 3000000 /dev/zero | tr '\\0' a; echo end >&2")
    assert (len(done["stdout"]), done["stderr"], done["truncated"]) == (MIB, "end\n", True)
    assert done["exitCode"] == 0


async def test_under_one_key_it_is_run_once(programs: Programs) -> None:
    headers = programs.scene.headers | {"Idempotency-Key": uuid.uuid4().hex}
    body = {"command": "echo once >> once; wc -l < once"}
    answers = await asyncio.gather(
        *(programs.scene.http.post(f"{programs.path}/exec", json=body, headers=headers) for _ in range(4))
    )
    assert {answer.json()["stdout"].strip() for answer in answers} == {"1"}
    other = {"command": "echo something else"}
    refused = await programs.scene.http.post(f"{programs.path}/exec", json=other, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "key_taken")


async def test_it_is_told_as_it_goes_on(programs: Programs) -> None:
    async with httpx.AsyncClient(base_url=f"http://{programs.scene.address}", timeout=60) as client:
        body = {"command": "echo one; while ! test -e go; do sleep 0.02; done; echo two >&2; exit 4"}
        async with client.stream(
            "POST", f"{programs.path}/exec", json=body, headers=programs.scene.headers | SSE
        ) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            events = events_of(response)
            assert await anext(events) == ("stdout", {"text": "one\n"})
            await programs.exec("touch go")
            assert await anext(events) == ("stderr", {"text": "two\n"})
            assert await anext(events) == ("end", {"exitCode": 4, "signal": None, "timedOut": False})
            assert await anext(events, None) is None


async def test_letters_are_whole_wherever_they_are_cut(programs: Programs) -> None:
    script = "printf '\\303'; sleep 0.1; printf '\\244\\342\\202'; sleep 0.1; printf '\\254\\377'"
    await programs.start(script, "letters")
    assert text_of(await programs.told("letters"), "stdout") == "ä€\ufffd"


async def test_its_output_is_read_again_from_any_place(programs: Programs) -> None:
    await programs.start("seq 1 20000", "numbers")
    whole = await programs.told("numbers")
    expected = "".join(f"{n}\n" for n in range(1, 20001))
    assert text_of(whole, "stdout") == expected
    later = await programs.told("numbers", 50_000)
    assert text_of(later, "stdout") == expected[50_000:]
    browser = await programs.told("numbers", headers={"Last-Event-ID": "100000"})
    assert text_of(browser, "stdout") == expected[100_000:]
    assert whole[-1][0] == later[-1][0] == "end"


async def test_what_goes_on_in_the_background_is_listed_and_ended(programs: Programs) -> None:
    started = await programs.start("sleep 1000 & sleep 1000; wait", "background")
    assert started["state"] == "running"
    again = await programs.start("sleep 1000 & sleep 1000; wait", "background")
    assert again["pid"] == started["pid"]
    assert (await programs.start("true", "background", status=409))["code"] == "key_taken"
    listed = await programs.scene.http.get(f"{programs.path}/processes", headers=programs.scene.headers)
    assert "background" in {each["key"] for each in listed.json()["items"]}
    ended = await programs.scene.http.post(
        f"{programs.path}/processes/background/signal",
        json={"signal": 9, "tree": True},
        headers=programs.scene.headers,
    )
    assert ended.status_code == 204

    async def over() -> bool:
        return str((await programs.process("background"))["state"]) == "ended"

    await eventually(over)
    assert (await programs.exec("pgrep sleep"))["stdout"] == ""
    late = await programs.scene.http.post(
        f"{programs.path}/processes/background/signal", json={"signal": 15}, headers=programs.scene.headers
    )
    assert (late.status_code, late.json()["code"]) == (409, "process_ended")


async def test_what_cannot_be_started_says_why(programs: Programs) -> None:
    for body, status, code in (
        ({"argv": ["/no/such/program"]}, 422, "not_started"),
        ({"command": "true", "cwd": "/no/such/folder"}, 422, "not_started"),
        ({"command": "true", "argv": ["true"]}, 422, "validation_failed"),
        ({}, 422, "validation_failed"),
        ({"command": "true", "user": "root"}, 422, "validation_failed"),
        ({"command": "true", "timeout": -1}, 422, "validation_failed"),
        ({"argv": ["true", "a\0b"]}, 422, "validation_failed"),
        ({"argv": []}, 422, "validation_failed"),
        ({"command": "true", "env": {"A-B": "x"}}, 422, "validation_failed"),
    ):
        answer = await programs.scene.http.post(
            f"{programs.path}/exec", json=body, headers=programs.scene.headers
        )
        assert (answer.status_code, answer.json()["code"]) == (status, code), body
    missing = await programs.scene.http.get(
        f"{programs.path}/processes/nobody/output", headers=programs.scene.headers
    )
    assert (missing.status_code, missing.json()["code"]) == (404, "process_not_found")


async def read_until(socket: ClientConnection, wanted: bytes) -> bytes:
    said = b""
    async with asyncio.timeout(30):
        while wanted not in said:
            message = await socket.recv()
            if isinstance(message, bytes):
                said += message
    return said


async def test_a_shell_at_a_terminal(programs: Programs) -> None:
    async with programs.terminal(rows="30", cols="90") as socket:
        ready = json.loads(await socket.recv())
        assert ready["type"] == "ready"
        await socket.send(b"stty size; tty\n")
        said = await read_until(socket, b"/dev/pts/")
        assert b"30 90" in said
        await socket.send(json.dumps({"type": "resize", "rows": 40, "cols": 100}))
        await socket.send(b"sleep 0.1; stty size\n")
        await read_until(socket, b"40 100")
        await socket.send("what nobody understands")
        await socket.send(b"cat\n")
        await socket.send(b"heard\n")
        await read_until(socket, b"heard\r\nheard")  # the terminal's, then cat's: what is to end is there
        await socket.send(b"\x03")
        await socket.send(b"exit 7\n")
        end: Any = None
        async with asyncio.timeout(30):
            while end is None:
                message = await socket.recv()
                if isinstance(message, str):
                    end = json.loads(message)
        assert end == {"type": "end", "exitCode": 7, "signal": None, "timedOut": False}
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1000


async def test_a_terminal_goes_on_where_it_was_left(programs: Programs) -> None:
    async with programs.terminal() as socket:
        key = json.loads(await socket.recv())["key"]
        await socket.send(b"left=behind\n")
        await read_until(socket, b"behind")
    async with programs.terminal(key=key) as socket:
        await socket.send(b"echo $left-again; exit\n")
        await read_until(socket, b"behind-again")


async def test_a_terminal_is_not_for_everybody(programs: Programs) -> None:
    scene = programs.scene
    viewer = await scene.http.join(scene.headers, scene.project, "viewer")
    stranger = await scene.http.sign_up()
    address = f"ws://{scene.address}{programs.path}/terminal"
    for headers, code, reason in (
        ({"Authorization": "Bearer nonsense"}, 4401, "unauthenticated"),
        (stranger, 4403, "sandbox_not_found"),
        (viewer, 4403, "role_too_low"),
    ):
        async with connect(address, additional_headers=headers) as socket:
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert (socket.close_code, socket.close_reason) == (code, reason)


async def test_who_is_no_member_any_more_is_cut(programs: Programs) -> None:
    scene = programs.scene
    member = await scene.http.join(scene.headers, scene.project, "developer")
    address = f"ws://{scene.address}{programs.path}/terminal"
    async with connect(address, additional_headers=member) as socket:
        await socket.recv()
        await socket.send(b"echo hello\n")
        await read_until(socket, b"hello")
        who = (await scene.http.me(member))["id"]
        gone = await scene.http.delete(
            f"/api/v1/projects/{scene.project}/members/{who}", headers=scene.headers
        )
        assert gone.status_code == 204
        async with asyncio.timeout(5):
            with suppress(ConnectionClosed):
                async for _ in socket:
                    pass
        assert socket.close_code == 4403
