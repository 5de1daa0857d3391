"""What a sandbox may use up, tried from inside, with others beside it."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.testing import eventually
from signalbox_sandbox.runtime.keepers import KeeperGone, KeeperRefused
from tests.support.node import Node, Sandbox

MIB = 1024 * 1024
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
    [
        {"pids": 0},
        {"pids": -1},
        {"files": "many"},
        {"files": True},
        {"unknown": 1},
        {"fileSize": 1.5},
        {"memory": 0},
        {"memory": -1},
        {"cpus": "1"},
        {"cpus": True},
    ],
)
async def test_what_is_no_limit_is_refused(node: Node, limits: dict[str, Any]) -> None:
    with pytest.raises(KeeperRefused):
        await node.keep(limits=limits)


async def test_memory_is_limited_for_all_together(node: Node) -> None:
    """Whoever takes too much is ended; its sandbox goes on, and the one beside it does not notice."""
    if "memory" not in node.keepers.holds():
        pytest.skip("this machine lets us make no groups of processes")
    sandbox, other = await node.keep(limits={"memory": 64 * MIB}), await node.keep()
    hungry = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    ended = await sandbox.run("python3", "-c", hungry)
    assert ended.end["signal"] == 9
    child = "python3 -c 'x = bytearray(40 << 20); import time; time.sleep(3)' || echo ended"
    told = (await sandbox.sh(f"{child} & {child} & {child} & wait")).stdout
    assert 1 <= told.count("ended") <= 3
    assert (await sandbox.sh("echo goes on")).stdout == "goes on\n"
    roomy = await other.run("python3", "-c", "x = bytearray(100 << 20); print(len(x))")
    assert roomy.stdout == f"{100 << 20}\n"


async def test_processors_are_shared_out(node: Node) -> None:
    if "cpus" not in node.keepers.holds():
        pytest.skip("this machine lets us make no groups of processes")
    least = await node.keep(limits={"cpus": 0.01})
    assert (await least.sh("echo slowly")).stdout == "slowly\n"
    await least.client.ask("end")
    sandbox = await node.keep(limits={"cpus": 0.2})
    script = (
        "import time; began = time.time()\nwhile time.time() - began < 2: pass\nprint(time.process_time())"
    )
    used = float((await sandbox.run("python3", "-c", script)).stdout)
    assert 0.2 < used < 0.8, used


async def test_no_group_outlives_its_sandbox(node: Node) -> None:
    if "memory" not in node.keepers.holds():
        pytest.skip("this machine lets us make no groups of processes")

    def groups(identifier: str) -> list[Path]:
        return list(Path("/sys/fs/cgroup").glob(f"*/signalbox-*/{identifier}"))

    sandbox, orphan = [await node.keep(limits={"memory": 64 * MIB, "cpus": 1}) for _ in range(2)]
    assert groups(sandbox.id)
    await sandbox.client.ask("end")

    async def gone() -> bool:
        return not groups(sandbox.id)

    await eventually(gone)
    node.kill()
    await node.start()
    assert groups(orphan.id)
    assert (await orphan.sh("echo still")).stdout == "still\n"
    await orphan.client.ask("end")

    async def swept() -> bool:
        return not groups(orphan.id)

    await eventually(swept, what="the next role takes it away")


async def test_who_fills_the_disk_is_ended(node: Node) -> None:
    """Within seconds; its sandbox goes on, and what it has written can be removed."""
    sandbox, other = await node.keep(limits={"disk": 64 * MIB}), await node.keep(limits={"disk": 64 * MIB})
    await other.client.start("quiet", ["sleep", "600"])
    filled = await sandbox.sh("(while :; do :; done) & while head -c 4M /dev/zero >> big; do :; done")
    assert (filled.end["signal"], filled.end["reason"]) == (9, "disk")
    assert (await sandbox.client.ask("status"))["diskBytes"] > 64 * MIB
    assert (await sandbox.sh("rm big; echo goes on")).stdout == "goes on\n"
    assert (await other.client.ask("status"))["running"] == 1


async def test_who_makes_too_many_files_is_ended(node: Node) -> None:
    sandbox = await node.keep(limits={"entries": 2_000})
    script = "import os\nfor n in range(10**7): os.close(os.open(f'f{n}', os.O_CREAT))"
    ended = await sandbox.run("python3", "-c", script)
    assert (ended.end["signal"], ended.end["reason"]) == (9, "disk")
