"""`signalbox up`, `status` and `down`, as people and scripts use them."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import asyncpg
import nats
import psutil
import pytest

from signalbox_cli.provision.credentials import Credentials, Endpoints
from signalbox_cli.stack.servers import Postgres
from signalbox_cli.stack.status import PATIENCE
from signalbox_common.programs import OWNERS, PROGRAMS
from signalbox_common.testing import eventually
from tests.support.installation import PASSWORD, Http
from tests.support.processes import Running
from tests.support.servers import TestServers, new_credentials
from tests.support.stack import Stack, new_home

SERVERS = ("postgres", "redis", "nats")

T = TypeVar("T")


async def sign_in_as_admin(stack: Stack) -> int:
    password = stack.home.admin_password_file.read_text()
    async with stack.client() as http:
        body = {"username": "admin", "password": password}
        return (await http.post("/api/v1/auth/login", json=body)).status_code


async def test_what_scripts_rely_on(stack: Stack) -> None:
    assert stack.url.startswith("http://127.0.0.1:")
    assert stat.S_IMODE(stack.home.admin_password_file.stat().st_mode) == 0o600
    for secret in (stack.home.credentials / "secrets.json", stack.home.credentials / "auth" / "secret-key"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(stack.home.logs.stat().st_mode) == 0o700
    password = stack.home.admin_password_file.read_text()
    assert all(password not in log.read_text() for log in stack.home.logs.iterdir())
    assert await sign_in_as_admin(stack) == 200
    status, seconds = _fastest(stack.status)
    assert seconds < 3 * _fastest(lambda: stack.run("down", "--help"))[1]
    assert [service["name"] for service in status["services"]] == [*PROGRAMS, "keeper", "egress"]
    assert {server["name"] for server in status["servers"]} == set(SERVERS)
    for each in [*status["services"], *status["servers"], status["forkserver"]]:
        assert each["state"] == "running"
        assert psutil.pid_exists(each["pid"])
    assert set(status["outbox"]) == set(OWNERS)
    assert isinstance(status["deadLetters"], int)
    assert {stream["name"] for stream in status["streams"]} >= {"COMMANDS", "EVENTS", "DEAD_LETTERS"}
    commands = next(stream for stream in status["streams"] if stream["name"] == "COMMANDS")
    assert {"name", "pending", "unacknowledged", "redelivered"} == set(commands["consumers"][0])
    shown = stack.run("status")
    assert shown.returncode == 0
    assert "gateway" in shown.stdout


async def test_a_second_up_says_that_it_is_running(stack: Stack) -> None:
    for arguments in (["up"], ["up", "--detach"]):
        again = stack.run(*arguments)
        assert again.returncode == 1
        assert "already running" in again.stderr
        assert stack.url in again.stderr


async def test_the_demo_runs_and_runs_again(stack: Stack) -> None:
    for _ in range(2):
        done = stack.run("demo")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "FAILED  sum of 7" in done.stdout
        assert "+while [ $# -gt 0 ]; do" in done.stdout
        assert "branch signalbox/mend-the-sum-of-numbers-" in done.stdout


async def test_dead_letters_from_the_command_line(stack: Stack) -> None:
    async def letters() -> int:
        return int(stack.status()["deadLetters"])

    before = await letters()

    secrets = Credentials(**json.loads((stack.home.credentials / "secrets.json").read_text()))
    endpoint = urlsplit((stack.home.credentials / "operator" / "nats-url").read_text()).netloc.rpartition(
        "@"
    )[2]
    client = await nats.connect(secrets.nats_url(Endpoints("", "", endpoint), "admin"))
    await client.jetstream().publish("cmd.auth.v1.create-project", b"{not json")
    await client.close()

    async def one_more() -> bool:
        return await letters() == before + 1

    await eventually(one_more)
    listed = json.loads(stack.run("dlq", "list", "--json").stdout)
    number = str(listed[-1]["number"])
    assert listed[-1]["reason"] == "malformed"
    assert "malformed" in stack.run("dlq", "list").stdout
    shown = json.loads(stack.run("dlq", "show", number, "--json").stdout)
    assert shown["body"] == "{not json"
    assert "cmd.auth.v1.create-project" in stack.run("dlq", "show", number).stdout
    still = stack.run("dlq", "redrive", number)
    assert still.returncode == 1
    assert "still failing" in still.stdout
    assert stack.run("dlq", "drop", number).returncode == 0
    assert await letters() == before
    missing = stack.run("dlq", "show", number)
    assert missing.returncode == 1
    assert "no dead letter" in missing.stderr


@pytest.mark.parametrize("victim", [*PROGRAMS, "keeper", "egress", *SERVERS])
async def test_what_dies_is_started_again(stack: Stack, victim: str) -> None:
    before = stack.pid(victim)
    os.kill(before, signal.SIGKILL)

    async def back() -> bool:
        return _runs_again(stack, victim, before)

    await eventually(back, what=f"{victim} runs again")
    async with stack.client() as http:

        async def works() -> bool:
            return bool((await http.get("/api/v1/health/detailed")).json()["status"] == "ok")

        await eventually(works, what="everything is well again")


def _runs_again(stack: Stack, name: str, before: int) -> bool:
    state = stack.home.read_state() or {}
    children = [*state["services"], *state["servers"], state["forkserver"]]
    child = next(c for c in children if c["name"] == name)
    return child["pid"] not in (None, before) and child["state"] == "running"


async def test_services_outlive_the_fork_server_and_are_still_watched(stack: Stack) -> None:
    """Its successor did not start them, and yet sees one of them die."""
    services = {name: stack.pid(name) for name in PROGRAMS}
    forkserver = stack.pid("forkserver")
    os.kill(forkserver, signal.SIGKILL)

    async def replaced() -> bool:
        return _runs_again(stack, "forkserver", forkserver)

    await eventually(replaced, within=60, what="the fork server has imported everything")
    assert {name: stack.pid(name) for name in PROGRAMS} == services
    os.kill(services["tasks"], signal.SIGKILL)

    async def back() -> bool:
        return _runs_again(stack, "tasks", services["tasks"])

    await eventually(back, within=15, what="tasks runs again")
    parent = psutil.Process(stack.pid("tasks")).parent()
    assert parent is not None
    assert parent.pid == stack.pid("forkserver")
    assert {name: stack.pid(name) for name in PROGRAMS if name != "tasks"} == {
        name: pid for name, pid in services.items() if name != "tasks"
    }


async def test_no_secret_shows_in_what_runs(stack: Stack) -> None:
    """A command line and an environment can be looked up by whoever may list processes."""
    credentials = Credentials.read(stack.home.credentials / "secrets.json")
    secrets = [credentials.secret_key, credentials.admin_password]
    secrets += [password for users in credentials.passwords.values() for password in users.values()]
    shown = {
        process.pid: " ".join([*process.cmdline(), *process.environ().values()])
        for process in stack.processes()
    }
    assert {stack.pid(name) for name in PROGRAMS} <= shown.keys()
    assert not [pid for pid, text in shown.items() for secret in secrets if secret in text]


async def test_a_service_that_hangs_is_reported_and_not_killed(own_stack: Stack) -> None:
    """And another one of its kind answers in its place."""
    own_stack.env["SIGNALBOX_GIT_INSTANCES"] = "2"
    own_stack.up()
    pid = own_stack.pid("git")
    assert own_stack.pid("git-2") != pid
    os.kill(pid, signal.SIGSTOP)

    async def reported() -> bool:
        return any(
            s["name"] == "git" and s["state"] == "unresponsive" for s in own_stack.status()["services"]
        )

    await eventually(reported)
    assert own_stack.pid("git") == pid
    others = [s for s in own_stack.status()["services"] if s["name"] != "git"]
    assert {s["state"] for s in others} == {"running"}
    os.kill(pid, signal.SIGCONT)

    async def well() -> bool:
        return all(s["state"] == "running" for s in own_stack.status()["services"])

    await eventually(well)


def _fastest(run: Callable[[], T]) -> tuple[T, float]:
    """Of three: other tests run on the same two cores, and what counts is how long it needs to take."""
    seconds = []
    for _ in range(3):
        started = time.monotonic()
        found = run()
        seconds.append(time.monotonic() - started)
    return found, min(seconds)


async def test_status_answers_whatever_is_down(own_stack: Stack) -> None:
    own_stack.up()
    _, control = _fastest(own_stack.status)
    for server in ("nats", "postgres"):
        os.kill(own_stack.pid(server), signal.SIGSTOP)
    try:
        status, seconds = _fastest(own_stack.status)
        assert seconds < control + 4 * PATIENCE
        assert status["streams"] is None
        assert status["deadLetters"] is None
        assert set(status["outbox"].values()) == {None}
    finally:
        for server in ("nats", "postgres"):
            os.kill(own_stack.pid(server), signal.SIGCONT)
    assert own_stack.down().returncode == 0
    down = own_stack.run("status", "--json")
    assert down.returncode == 3


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.proof)])
async def test_ctrl_c_stops_everything_and_the_data_survives(own_stack: Stack, number: int) -> None:
    process = own_stack.foreground()
    await own_stack.wait_ready()
    async with own_stack.client() as client:
        registered = await client.post(
            "/api/v1/auth/register",
            json={"username": "keeper", "email": "k@example.com", "password": PASSWORD},
        )
        assert registered.status_code == 201
    process.send_signal(number)
    output, _ = await asyncio.to_thread(process.communicate, None, 30)
    assert process.returncode == 0, output
    assert "Signalbox is up" in output
    assert "stopped; the data is kept" in output
    assert own_stack.processes() == []
    own_stack.up()
    async with own_stack.client() as client:
        again = await client.post("/api/v1/auth/login", json={"username": "keeper", "password": PASSWORD})
        assert again.status_code == 200


async def test_a_stop_in_the_middle_of_starting_leaves_nothing(own_stack: Stack) -> None:
    process = own_stack.foreground()

    async def starting() -> bool:
        return any(c["pid"] for c in (own_stack.home.read_state() or {}).get("servers", ()))

    await eventually(starting)
    process.send_signal(signal.SIGTERM)
    output, _ = await asyncio.to_thread(process.communicate, None, 30)
    assert process.returncode == 0, output
    assert own_stack.processes() == []


async def test_down_in_the_first_moment_of_a_start_stops_it(own_stack: Stack) -> None:
    process = own_stack.foreground()

    async def locked() -> bool:
        return own_stack.home.is_locked()

    await eventually(locked)
    assert own_stack.down().returncode == 0
    output, _ = await asyncio.to_thread(process.communicate, None, 30)
    assert own_stack.processes() == [], output
    assert not own_stack.home.is_locked()


async def test_a_home_may_be_called_anything() -> None:
    stack = Stack(new_home() / 'Häuschen "eins" & [zwei]')
    try:
        stack.up()
        assert await sign_in_as_admin(stack) == 200
        assert stack.down().returncode == 0
        assert stack.processes() == []
    finally:
        stack.down()
        stack.remove()
        shutil.rmtree(stack.path.parent.parent, ignore_errors=True)


async def test_a_state_that_cannot_be_written_stops_nothing(own_stack: Stack) -> None:
    own_stack.up()
    pids = {process.pid for process in own_stack.processes()}
    git = own_stack.pid("git")
    supervisor = own_stack.home.supervisor()
    assert supervisor is not None
    shutil.rmtree(own_stack.home.run)
    os.kill(git, signal.SIGKILL)

    async def git_again() -> bool:
        return any(p.pid not in pids and "signalbox_git.app" in p.cmdline() for p in own_stack.processes())

    await eventually(git_again)
    os.kill(supervisor, signal.SIGTERM)

    async def gone() -> bool:
        return own_stack.processes() == []

    await eventually(gone, within=30)


@pytest.mark.parametrize("cleaner", ["up", pytest.param("down", marks=pytest.mark.proof)])
async def test_a_killed_supervisor_leaves_nothing_that_cannot_be_cleaned(
    own_stack: Stack, cleaner: str
) -> None:
    """Its sandboxes go on, until somebody stops the stack."""
    own_stack.up()
    await own_stack.become_admin()
    sandbox = own_stack.run("sandbox", "create", "--quiet").stdout.strip()
    begun = own_stack.run("sandbox", "exec", sandbox, "--", "sh", "-c", "sleep 600 & echo $! | tee pid")
    assert begun.returncode == 0, begun.stderr
    state = own_stack.home.read_state()
    assert state is not None
    os.kill(state["pid"], signal.SIGKILL)

    async def unlocked() -> bool:
        return not own_stack.home.is_locked()

    await eventually(unlocked)
    roles = [each["pid"] for each in state["services"] if each["name"] in ("keeper", "egress")]

    async def gone() -> bool:
        return not any(map(psutil.pid_exists, roles))

    assert len(roles) == 2
    await eventually(gone, what="the roles have ended with it, whoever they run as")
    orphans = {process.pid for process in own_stack.processes()}
    assert len(orphans) >= 9
    url = own_stack.url
    status = own_stack.run("status", "--json")
    assert (status.returncode, json.loads(status.stdout)["phase"]) == (4, "unsupervised")
    assert "the supervisor is dead, its programs run" in own_stack.run("status").stdout
    if cleaner == "down":
        assert "cleaned up" in own_stack.down().stdout
        assert own_stack.processes() == []
    own_stack.up()
    assert (own_stack.url == url) is (cleaner == "up")
    assert orphans.isdisjoint(process.pid for process in own_stack.processes())
    assert await sign_in_as_admin(own_stack) == 200
    again = own_stack.run("sandbox", "exec", sandbox, "--", "sh", "-c", "kill -0 $(cat pid)")
    assert (again.returncode, again.stderr) == (0, "") if cleaner == "up" else again.returncode == 1
    listed = json.loads(own_stack.run("sandbox", "ls", "--all", "--json").stdout)
    expected = ("running", None) if cleaner == "up" else ("lost", "node_stopped")
    assert [(each["status"], each["reason"]) for each in listed] == [expected]


async def test_two_stacks_do_not_meet(stack: Stack, own_stack: Stack) -> None:
    own_stack.up()
    assert own_stack.url != stack.url
    async with stack.client() as one, own_stack.client() as other:
        body = {"username": "only-here", "email": "o@example.com", "password": PASSWORD}
        assert (await one.post("/api/v1/auth/register", json=body)).status_code == 201
        token = (await one.post("/api/v1/auth/login", json=body)).json()["accessToken"]
        assert (await other.post("/api/v1/auth/login", json=body)).status_code == 401
        me = await other.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert (me.status_code, me.json()["code"]) == (401, "unknown_key")
    assert own_stack.down().returncode == 0
    assert stack.status()["phase"] == "ready"


async def test_a_taken_port_is_named(own_stack: Stack, stack: Stack) -> None:
    own_stack.env["SIGNALBOX_PORT"] = stack.url.rpartition(":")[2]
    refused = own_stack.run("up")
    assert refused.returncode == 1
    assert "is taken" in refused.stderr
    assert "SIGNALBOX_PORT" in refused.stderr
    assert own_stack.processes() == []


async def test_without_a_stack_commands_say_so(own_stack: Stack) -> None:
    assert own_stack.run("status").returncode == 3
    assert "nothing was running" in own_stack.down().stdout
    letters = own_stack.run("dlq", "list")
    assert letters.returncode == 1
    assert "no stack was ever started" in letters.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_an_ordinary_user_can_run_it() -> None:
    nobody = pwd.getpwnam("nobody")
    home = new_home()
    os.chown(home.parent, nobody.pw_uid, nobody.pw_gid)
    stack = Stack(home, user=nobody.pw_uid, env={"HOME": str(home.parent)})
    readable = subprocess.run(["test", "-x", shutil.which("python3") or ""], user=nobody.pw_uid, check=False)
    if readable.returncode:
        pytest.skip("this machine's Python is closed to ordinary users")
    try:
        stack.up()
        assert await sign_in_as_admin(stack) == 200
        assert stack.down().returncode == 0
        assert stack.processes() == []
    finally:
        stack.down()
        shutil.rmtree(home.parent, ignore_errors=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's folders are closed to PostgreSQL's user")
async def test_root_can_run_it_from_a_folder_that_only_root_can_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs and data both lie behind a door that PostgreSQL's user cannot pass."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    credentials = new_credentials()
    install = Postgres(tmp_path / "unused", credentials).bin.parent
    behind = closed / install.parent.name / install.name
    shutil.copytree(install, behind, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = install.parent.parent / f"{install.parent.name}.libs"
    if libraries.exists():
        shutil.copytree(libraries, closed / libraries.name)
    monkeypatch.setenv("SIGNALBOX_POSTGRES_SERVER", str(behind / "bin" / "postgres"))
    before = os.umask(0o077)  # as `signalbox up` sets it
    try:
        postgres = Postgres(closed / "data", credentials)
        postgres.prepare()
    finally:
        os.umask(before)
    assert not postgres.bin.is_relative_to(closed)
    running = Running(postgres.program(), tmp_path / "postgres.log")
    await running.start()
    await running.stop()
    postgres.close()
    assert not postgres.bin.exists()


async def test_requests_go_on_while_the_gateway_restarts(stack: Stack) -> None:
    async with stack.client() as client:
        me = await Http(client, None).sign_up()  # type: ignore[arg-type]  # nothing here looks inside
        pid = stack.pid("gateway")
        os.kill(pid, signal.SIGKILL)
        # The listening socket is the supervisor's: the connection waits instead of being refused.
        async with stack.client() as fresh:
            assert (await fresh.get("/api/v1/auth/me", headers=me)).status_code == 200
        assert stack.pid("gateway") != pid


async def test_servers_that_are_there_already_are_used(own_stack: Stack, servers: TestServers) -> None:
    """Named by the URLs that users of such systems already set; roles and schemas are made there, in the
    database that is named."""
    server = servers.postgres_admin_url.removeprefix("postgresql://").rpartition("/")[0]
    own_stack.env |= {
        "DATABASE_URL": f"postgresql+asyncpg://{server}/agents-of%20ours",
        "REDIS_URL": servers.credentials.redis_url(servers.endpoints, "admin"),
        "NATS_URL": servers.nats_admin_url,
    }
    await servers.fresh_streams()
    try:
        own_stack.up()
        status = own_stack.status()
        assert status["servers"] == []
        assert status["outbox"] == dict.fromkeys(OWNERS, 0)
        own = await asyncpg.connect(f"postgresql://{server}/agents-of%20ours")
        assert await own.fetchval("select count(*) from auth.users") > 0
        await own.close()
        demo = own_stack.run("demo")
        assert demo.returncode == 0, demo.stdout + demo.stderr
        assert own_stack.down().returncode == 0
    finally:
        await servers.reset_passwords()
