"""What a sandbox may use up, tried from inside, with others beside it."""

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from signalbox_sandbox.runtime.keepers import KeeperGone, KeeperRefused
from tests.support.node import Node, Sandbox

FORKS = """
import os, sys
children = []
try:
    while len(children) < 5000:
        pid = os.fork()
        if pid == 0:
            import time; time.sleep(60); os._exit(0)
        children.append(pid)
except OSError as error:
    print(len(children), error.strerror)
for pid in children:
    os.kill(pid, 9); os.waitpid(pid, 0)
"""
FILES = """
import os
opened = []
try:
    while len(opened) < 100000:
        opened.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    print(len(opened), error.strerror)
"""


@pytest.fixture
async def small(node: Node) -> AsyncIterator[Sandbox]:
    sandbox = await node.keep(limits={"pids": 40, "files": 64, "fileSize": 1024 * 1024})
    yield sandbox
    with suppress(KeeperGone):
        await sandbox.client.ask("end")


async def test_processes_are_counted_for_each_sandbox(node: Node, small: Sandbox) -> None:
    """However many another one has, under the same uid outside."""
    other = await node.keep(limits={"pids": 200})
    count, _, why = (await other.run("python3", "-c", FORKS)).stdout.partition(" ")
    assert 150 < int(count) < 200
    assert why == "Resource temporarily unavailable\n"
    for _ in range(2):
        count, _, why = (await small.run("python3", "-c", FORKS)).stdout.partition(" ")
        assert 20 < int(count) < 40
        assert why == "Resource temporarily unavailable\n"
    assert (await small.sh("echo fine")).stdout == "fine\n"
    await other.client.ask("end")


async def test_a_fork_bomb_stays_inside(node: Node, small: Sandbox) -> None:
    """It may ask for no more processes there, and others start theirs as before."""
    other = await node.keep()
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 60"
    await small.client.start("bomb", ["sh", "-c", bomb], timeout=2.0)
    for _ in range(10):
        assert (await other.sh("echo fine")).stdout == "fine\n"
    await small.client.ask("end")
    await small.gone()
    assert (await other.sh("echo fine")).stdout == "fine\n"
    await other.client.ask("end")


async def test_descriptors_and_files(small: Sandbox) -> None:
    count, _, why = (await small.run("python3", "-c", FILES)).stdout.partition(" ")
    assert (50 < int(count) < 64, why) == (True, "Too many open files\n")
    ran = await small.sh("head -c 2000000 /dev/zero > /workspace/big; stat -c %s /workspace/big")
    assert ran.stdout == "1048576\n"


async def test_limits_cannot_be_raised_inside(small: Sandbox) -> None:
    for flag in ("-u", "-n", "-f", "-c"):
        assert (await small.run("bash", "-c", f"ulimit {flag} unlimited")).code != 0, flag
    assert (await small.run("bash", "-c", "ulimit -c")).stdout == "0\n", "no dumps of memory"


@pytest.mark.parametrize(
    "limits",
    [{"pids": 0}, {"pids": -1}, {"files": "many"}, {"files": True}, {"unknown": 1}, {"fileSize": 1.5}],
)
async def test_what_is_no_limit_is_refused(node: Node, limits: dict[str, int]) -> None:
    with pytest.raises(KeeperRefused):
        await node.keep(limits=limits)
