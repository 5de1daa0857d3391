"""`signalbox tail`, as somebody at a terminal uses it."""

import asyncio
import json
import os
import signal
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from signalbox_cli.provision.credentials import Credentials, Endpoints
from signalbox_common.testing import eventually
from tests.support.stack import CLI, Stack

PROJECT = str(uuid.uuid4())
ANOTHER = str(uuid.uuid4())
NASTY = "\x1b[31m\x9b2J\u202e[bold]\\"


@asynccontextmanager
async def administrator(stack: Stack) -> AsyncIterator[Client]:
    secrets = Credentials.read(stack.home.credentials / "secrets.json")
    url = (stack.home.credentials / "operator" / "nats-url").read_text(encoding="utf-8")
    client = await nats.connect(secrets.nats_url(Endpoints("", "", url.rpartition("@")[2]), "admin"))
    try:
        yield client
    finally:
        await client.close()
        await asyncio.sleep(0)  # nats-py does not wait until its transport is closed


async def tell(stack: Stack, kind: str, *data: Any, project: str = PROJECT) -> None:
    async with administrator(stack) as client:
        for each in data:
            headers = {"ce-id": str(uuid.uuid4()), "ce-time": "2026-01-02T03:04:05Z", "ce-source": "/test"}
            body = json.dumps(each).encode()
            await client.jetstream().publish(f"evt.{project}.{kind}", body, headers=headers)


class Tail:
    """It runs, and what it prints is in a file."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def text(self) -> str:
        return self._output.read_text(encoding="utf-8")

    @property
    def data(self) -> list[Any]:
        whole = self.text.rpartition("\n")[0]
        return [json.loads(line)["data"] for line in whole.splitlines()]

    async def until(self, *data: Any) -> None:
        async def there() -> bool:
            return len(self.data) >= len(data)

        await eventually(there, what=f"{len(data)} lines")
        assert self.data == list(data)


@contextmanager
def tailing(stack: Stack, folder: Path, *arguments: str) -> Iterator[Tail]:
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*CLI, "tail", *arguments],
            env=stack.environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            cwd="/",
        )
    try:
        yield Tail(process, output)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def follows(stack: Stack, tail: Tail) -> None:
    """It is there when something that is told comes out."""

    async def one() -> bool:
        await tell(stack, "tasks.task.created", "is it there?")
        return bool(tail.data)

    await eventually(one, what="a line")


def listed(stack: Stack, *arguments: str) -> list[Any]:
    done = stack.run("tail", "--since", "10m", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["data"] for line in done.stdout.splitlines()]


async def test_what_has_happened(stack: Stack) -> None:
    project = str(uuid.uuid4())
    await tell(stack, "tasks.task.created", 1, project=project)
    await tell(stack, "tasks.run.ended", 2, project=project)
    await tell(stack, "ext.ci.done", 3, project=project)
    only = ("--project", project)
    assert listed(stack, *only) == [1, 2, 3]
    assert listed(stack, f"evt.{project}.>") == [1, 2, 3]
    assert listed(stack, "tasks", *only) == listed(stack, "tasks.*", *only) == [1, 2]
    assert listed(stack, "evt.*.tasks.>", *only) == [1, 2]
    assert listed(stack, "tasks.run", *only) == listed(stack, "tasks.run.ended", *only) == [2]
    assert listed(stack, "ext.ci.done", *only) == [3]
    assert listed(stack, "git", *only) == []
    shown = stack.run("tail", "--since", "10m", *only)
    assert [line.split()[2] for line in shown.stdout.splitlines()] == [
        "tasks.task.created",
        "tasks.run.ended",
        "ext.ci.done",
    ]
    nothing = stack.run("tail", "--no-follow", *only)
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "there are no events of 'nonsense'"),
        (["a b"], "no subject or type"),
        (["--since", "soon"], "no span"),
        (["--project", "x.>"], "no id of a project"),
        ([f"evt.{PROJECT}.>", "--project", ANOTHER], "names another project"),
    ],
)
def test_what_no_filter_is(stack: Stack, arguments: list[str], said: str) -> None:
    done = stack.run("tail", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


async def test_nothing_that_a_terminal_would_obey(stack: Stack) -> None:
    project = str(uuid.uuid4())
    await tell(stack, "tasks.task.created", {NASTY: NASTY}, project=project)
    for arguments in ([], ["--json"]):
        done = stack.run("tail", "--since", "10m", "--project", project, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.removesuffix("\n").isprintable()
        assert "[bold]" in done.stdout
    assert listed(stack, "--project", project) == [{NASTY: NASTY}]


async def test_it_goes_on_across_restarts_of_nats(stack: Stack, tmp_path: Path) -> None:
    project = str(uuid.uuid4())
    await tell(stack, "tasks.task.created", 0, project=project)
    with tailing(stack, tmp_path, "--since", "10m", "--follow", "--json", "--project", project) as tail:
        await tail.until(0)
        for round_ in range(2):
            before = stack.pid("nats")
            os.kill(before, signal.SIGKILL)

            async def tells(number: int = round_ + 1) -> bool:
                try:
                    await tell(stack, "tasks.task.created", number, project=project)
                except (nats.errors.Error, OSError):
                    return False
                return True

            await eventually(tells, what="NATS is back")
            await tail.until(*range(round_ + 2))
        assert tail.process.poll() is None


async def test_ctrl_c_ends_it_quietly(stack: Stack, tmp_path: Path) -> None:
    with tailing(stack, tmp_path, "--json") as tail:
        await follows(stack, tail)
        tail.process.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(tail.process.communicate, None, 10)
    assert (tail.process.returncode, said) == (0, b"")


@pytest.mark.parametrize("arguments", [[], ["--json"]])
async def test_a_closed_pipe_ends_it_quietly(stack: Stack, arguments: list[str]) -> None:
    """Also while nothing happens any more that would make it write."""
    project = str(uuid.uuid4())
    await tell(stack, "tasks.task.created", *range(500), project=project)
    for follow in ("--follow", "--no-follow"):
        reading, writing = os.pipe()
        process = subprocess.Popen(
            [*CLI, "tail", "--since", "10m", follow, "--project", project, *arguments],
            env=stack.environment(),
            stdout=writing,
            stderr=subprocess.PIPE,
            cwd="/",
        )
        os.close(writing)
        try:
            assert await asyncio.to_thread(os.read, reading, 100)
        finally:
            os.close(reading)
            _, said = await asyncio.to_thread(process.communicate, None, 20)
        assert process.returncode == 0
        assert said in (b"", f"evt.{project}.>; Ctrl-C ends it\n".encode())


def test_without_a_stack_it_says_so(own_stack: Stack) -> None:
    for arguments in (["tail"], ["nats-context"], ["publisher", "list"]):
        done = own_stack.run(*arguments)
        assert done.returncode == 1
        assert "no stack was ever started" in done.stderr or "start the stack first" in done.stderr
