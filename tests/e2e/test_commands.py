"""`signalbox login`, `whoami`, `logout`, and what operators ask for: keys, secrets, the audit log."""

import asyncio
import json
import re
import signal
import stat
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from signalbox_cli.client import Tokens
from signalbox_cli.operator import Operator
from signalbox_cli.session import Sessions
from tests.support.installation import PASSWORD
from tests.support.pace import promptly
from tests.support.stack import CLI, Stack

ME = "/api/v1/auth/me"


@pytest.fixture
def person(stack: Stack, tmp_path: Path) -> Stack:
    """The same stack, used by somebody with a configuration of their own."""
    return replace(stack, env={"SIGNALBOX_CONFIG_DIR": str(tmp_path / "config")})


async def sign_up(http: httpx.AsyncClient) -> tuple[str, Tokens]:
    name = f"user-{uuid.uuid4().hex[:10]}"
    body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
    assert (await http.post("/api/v1/auth/register", json=body)).status_code == 201
    answer = await http.post("/api/v1/auth/login?cookie=false", json=body)
    assert answer.status_code == 200
    return name, Tokens.model_validate_json(answer.content)


def bearer(tokens: Tokens) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.access_token}"}


@contextmanager
def logging_in(person: Stack) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`signalbox login`, once it has shown its code."""
    with subprocess.Popen(
        [*CLI, "login"],
        env=person.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().split() == ["open", f"{person.url}/device"]
            found = re.fullmatch(r"approve +([A-Z]{4}-[A-Z]{4})\n", process.stdout.readline())
            assert found is not None
            yield process, found.group(1)
        finally:
            process.kill()


def expire(person: Stack, sessions: Sessions) -> None:
    sessions.put(person.url, sessions.get(person.url).model_copy(update={"expires_at": 0.0}))


async def test_log_in_go_on_and_log_out(person: Stack, tmp_path: Path) -> None:
    nobody = await asyncio.to_thread(person.run, "whoami")
    assert nobody.returncode == 1
    assert "you are not logged in" in nobody.stderr
    assert "signalbox login" in nobody.stderr
    async with person.client() as http:
        name, tokens = await sign_up(http)
        with logging_in(person) as (process, code):
            decision = {"userCode": code, "approve": True}
            decided = await http.post("/api/v1/auth/device/decision", json=decision, headers=bearer(tokens))
            assert decided.status_code == 204
            shown, problems = await asyncio.to_thread(process.communicate, None, 20)
            assert process.returncode == 0, problems
            assert f"as {name}" in shown
    file = tmp_path / "config" / "sessions.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    sessions = Sessions(file.parent)
    before = sessions.get(person.url)
    expire(person, sessions)

    together = await asyncio.gather(*(asyncio.to_thread(person.run, "whoami", "--json") for _ in range(2)))
    assert [done.returncode for done in together] == [0, 0], [done.stderr for done in together]
    assert {json.loads(done.stdout)["username"] for done in together} == {name}
    assert sessions.get(person.url).refresh_token != before.refresh_token
    assert f"{name} <{name}@example.com>, user, at" in person.run("whoami").stdout

    assert "logged out" in person.run("logout").stdout
    assert "you are not logged in" in person.run("whoami").stderr
    async with person.client() as http:
        used = {"Authorization": f"Bearer {before.access_token}"}
        assert (await http.get(ME, headers=used)).json()["code"] == "session_ended"


async def test_a_login_that_is_given_up_leaves_nothing(person: Stack, tmp_path: Path) -> None:
    with logging_in(person) as (process, _code):
        process.send_signal(signal.SIGINT)
        _, problems = await asyncio.to_thread(process.communicate, None, 10)
    assert (process.returncode, problems) == (130, "signalbox: given up: nobody was logged in\n")
    assert not (tmp_path / "config" / "sessions.json").exists()


async def test_keys_change_under_running_sessions(person: Stack, tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "config")

    def keys(*arguments: str) -> dict[str, str]:
        done = person.run("keys", *arguments)
        assert done.returncode == 0, done.stderr
        return {state: kid for kid, state in re.findall(r"(k\w{16}) +(\w+)", done.stdout)}

    assert "wrapped with key" in person.run("secrets", "rotate").stdout
    async with person.client() as http:
        name, tokens = await sign_up(http)
        sessions.put(person.url, tokens.session())
        before = keys("list")
        after = keys("rotate")
        assert (after["current"], after["retired"]) == (before["next"], before["current"])
        assert (await http.get(ME, headers=bearer(tokens))).status_code == 200

        last = keys("rotate", "--distrust-old")
        assert last["current"] == after["next"]
        assert "retired" not in last

        async def refused() -> bool:
            return (await http.get(ME, headers=bearer(tokens))).status_code == 401

        await promptly(refused)
        published = (await http.get("/.well-known/jwks.json")).json()["keys"]
        assert {key["kid"] for key in published} == set(last.values())
    assert name in person.run("whoami").stdout
    assert sessions.get(person.url).refresh_token != tokens.refresh_token


async def test_a_changed_line_of_the_audit_log_is_found(stack: Stack) -> None:
    async with stack.client() as http:
        await sign_up(http)
    unbroken = re.compile(r"\d+ lines, unbroken\n")
    assert unbroken.fullmatch(stack.run("audit", "verify").stdout)

    async with Operator(stack.home).database() as database:
        # A superuser can do without the trigger that keeps everybody else from changing lines.
        await database.execute("set session_replication_role = replica")
        line = 2
        change = "update auth.audit set outcome = $2 where sequence = $1"
        said = await database.fetchval("select outcome from auth.audit where sequence = $1", line)
        assert await database.execute(change, line, "never happened") == "UPDATE 1"
        try:
            broken = stack.run("audit", "verify")
            assert (broken.returncode, broken.stdout) == (1, "")
            assert f"broken at line {line}: the line, or one before it, was changed" in broken.stderr
        finally:
            await database.execute(change, line, said)
    assert unbroken.fullmatch(stack.run("audit", "verify").stdout)
