"""What keeps a sandbox: it goes on, its files stay, and its end comes, whoever dies."""

import asyncio
import fcntl
import json
import os
import pwd
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from signalbox_common.testing import eventually
from signalbox_sandbox.runtime import keepers
from signalbox_sandbox.runtime.keepers import KeeperGone, KeeperRefused
from tests.support.node import LIFETIME, Node, Sandbox, is_gone, killed


async def test_the_death_of_the_role_ends_nobody(node: Node) -> None:
    sandbox = await node.keep()
    await sandbox.client.start("goes-on", ["sh", "-c", "sleep 0.5; echo still here"])
    node.kill()
    try:
        assert (await sandbox.told("goes-on")).stdout == "still here\n"
        assert (await sandbox.sh("echo new")).stdout == "new\n"
    finally:
        await node.start()
    with pytest.raises(KeeperRefused) as twice:
        await node.keepers.keep(sandbox.id, epoch=2, lifetime=LIFETIME)
    assert twice.value.code == "kept_already"
    assert (await node.keep()).id != sandbox.id


async def test_a_deadline_is_kept_with_nobody_there(node: Node) -> None:
    sandbox = await node.keep(lifetime=1.0)
    await sandbox.client.start("for-ever", ["sh", "-c", "setsid sleep 1000 & sleep 1000"])
    began = time.monotonic()
    inside = [process for process in node.processes() if process.pid == await sandbox.keeper()]
    assert inside
    node.kill()
    try:
        await sandbox.gone()
        assert time.monotonic() - began < 3.0
    finally:
        await node.start()
    ended = json.loads((sandbox.folder / "ended.json").read_text())
    assert ended == {"epoch": 1, "reason": "deadline"}
    (label,) = [label for label in node.keepers.labels() if label.id == sandbox.id]
    assert label.ended == "deadline"


async def test_a_deadline_can_be_moved(node: Node) -> None:
    sandbox = await node.keep(lifetime=0.7)
    await sandbox.client.ask("set-deadline", seconds=100.0)
    assert (await sandbox.sh("sleep 1; echo still")).stdout == "still\n"
    assert 90 < (await sandbox.client.ask("status"))["secondsLeft"] < 100
    await sandbox.client.ask("set-deadline", seconds=0.0)
    await sandbox.gone()


@pytest.mark.parametrize("victim", ["keeper", "bwrap", "inside", "resident"])
async def test_with_any_of_its_own_goes_all_of_it(node: Node, victim: str) -> None:
    """And nothing of any other sandbox."""
    other = await node.keep()
    sandbox = await node.keep()
    keeper = psutil.Process(await sandbox.keeper())
    await sandbox.client.start("sleeper", ["sh", "-c", "setsid sleep 4711 & sleep 4711"])
    tree = [keeper, *keeper.children(recursive=True)]
    match victim:
        case "keeper":
            await killed(keeper.pid)
        case "bwrap":
            (bwrap,) = [each for each in keeper.children() if each.name() == "bwrap"]
            await killed(bwrap.pid)
        case "inside":
            with pytest.raises(KeeperGone):
                await sandbox.sh("kill -9 2; sleep 20")
        case "resident":
            with pytest.raises(KeeperGone):
                await sandbox.sh("kill -9 3; sleep 20")
    await sandbox.gone()

    async def all_gone() -> bool:
        return all(is_gone(process.pid) for process in tree)

    await eventually(all_gone)
    assert (await other.sh("echo fine")).stdout == "fine\n"
    if victim != "keeper":
        ended = json.loads((sandbox.folder / "ended.json").read_text())
        assert ended["reason"] in ("failed", "resident_lost")
    await other.client.ask("end")
    await other.gone()


async def test_what_cannot_begin_leaves_nothing(node: Node) -> None:
    before = {process.pid for process in node.processes()}
    with pytest.raises(KeeperRefused, match="nowhere"):
        await node.keep(lower=Path("/nowhere/at/all"))

    async def as_before() -> bool:
        return {process.pid for process in node.processes()} <= before

    await eventually(as_before)

    async def told() -> bool:
        return "not_started" in [label.ended for label in node.keepers.labels()]

    await eventually(told)
    for wrong in ("../up", "UPPER", "", "x" * 65):
        with pytest.raises(KeeperRefused):
            await node.keepers.keep(wrong, epoch=1, lifetime=LIFETIME)
    assert not (node.folder.parent / "up").exists()


async def test_who_asked_for_it_and_died_finds_it_by_its_label(node: Node) -> None:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(node.folder / "role.sock"))
        asking.sendall(json.dumps({"id": "orphan", "epoch": 3, "lifetime": LIFETIME}).encode() + b"\n")

    async def labelled() -> bool:
        return any((label.id, label.epoch) == ("orphan", 3) for label in node.keepers.labels())

    await eventually(labelled)
    found = Sandbox("orphan", node.keepers.of("orphan"), node.folder / "orphan")

    async def answers() -> bool:
        with suppress(KeeperGone):
            return (await found.sh("echo here")).stdout == "here\n"
        return False

    await eventually(answers)


async def test_files_outlive_their_keeper(node: Node) -> None:
    sandbox = await node.keep()
    await sandbox.sh("echo kept > file; echo home > ~/file; echo gone > /tmp/file")
    await killed(await sandbox.keeper())
    client = await node.keepers.keep(sandbox.id, epoch=2, lifetime=LIFETIME)
    again = Sandbox(sandbox.id, client, sandbox.folder)
    assert (await again.sh("cat file ~/file; cat /tmp/file")).stdout == "kept\nhome\n"
    assert (await client.ask("status"))["epoch"] == 2


async def test_who_leaves_while_it_is_connected_leaves_nothing_open(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: asyncio.Queue[socket.socket] = asyncio.Queue()

    async def undecided(connection: socket.socket) -> bool:
        begun.put_nowait(connection)
        return await asyncio.Future[bool]()

    sandbox = await node.keep()
    listen = "import socket, time; s = socket.create_server(('127.0.0.1', 7001)); time.sleep(60)"
    await sandbox.client.start("listens", ["python3", "-c", listen])
    monkeypatch.setattr(keepers, "_is_connected", undecided)

    async def connecting() -> asyncio.Task[socket.socket] | None:
        asking = asyncio.create_task(sandbox.client.connect(7001))
        said = asyncio.create_task(begun.get())
        await asyncio.wait([asking, said], return_when=asyncio.FIRST_COMPLETED)
        if said.done():
            begun.put_nowait(said.result())
            return asking
        said.cancel()
        assert isinstance(asking.exception(), KeeperRefused)
        return None

    asking = await eventually(connecting, what="it listens")
    assert asking is not None
    connection = begun.get_nowait()
    asking.cancel()
    await asyncio.wait([asking])
    assert connection.fileno() < 0


async def test_a_tree_below_is_never_changed(node: Node) -> None:
    checkout = node.folder / "checkout"
    lower = checkout / "tree"
    lower.mkdir(parents=True)
    (lower / "read.me").write_text("as it was\n")
    (lower / "gone").write_text("x")
    if os.geteuid() == 0:
        for path in (lower, *lower.iterdir()):
            os.chown(path, 64_000, 64_000)
    one, other = await node.keep(lower=checkout), await node.keep(lower=checkout)
    await one.sh("echo changed >> read.me; rm gone; echo new > new")
    assert (await one.sh("cat read.me; ls")).stdout == "as it was\nchanged\nnew\nread.me\n"
    assert (await other.sh("cat read.me; ls")).stdout == "as it was\ngone\nread.me\n"
    assert (lower / "read.me").read_text() == "as it was\n"
    with checkout_locked(checkout) as locked:
        assert not locked, "who mounts it holds a lock on it"
    for sandbox in (one, other):
        await sandbox.client.ask("end")
        await sandbox.gone()

    async def let_go() -> bool:
        with checkout_locked(checkout) as locked:
            return locked

    await eventually(let_go)


@contextmanager
def checkout_locked(folder: Path) -> Iterator[bool]:
    """Whether it could be removed, as nobody mounts it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


@pytest.mark.skipif(os.geteuid() != 0, reason="all of these tests run as an ordinary user")
async def test_an_ordinary_user_needs_no_more() -> None:
    """Nor does it take on another uid."""
    node = Node.new("nobody")
    await node.start()
    try:
        nobody = pwd.getpwnam("nobody")
        checkout = node.folder / "checkout"
        lower = checkout / "tree"
        lower.mkdir(mode=0o755, parents=True)
        (lower / "file").write_text("below\n")
        for path in (lower, lower / "file"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)  # of another group it could not be copied up
        sandbox = await node.keep(lower=checkout)
        ran = await sandbox.sh(
            "id -u; cat file; echo above > file; cat file; grep Seccomp: /proc/self/status"
        )
        assert ran.stdout.split() == ["1000", "below", "above", "Seccomp:", "2"], ran.stderr
        assert (lower / "file").read_text() == "below\n"
        keeper = psutil.Process(await sandbox.keeper())
        for process in (keeper, *keeper.children(recursive=True)):
            assert process.username() == "nobody"
    finally:
        await node.stop()


@pytest.mark.parametrize(("cycles", "kills"), [(20, 4), pytest.param(1_000, 100, marks=pytest.mark.proof)])
async def test_nothing_is_left(node: Node, cycles: int, kills: int) -> None:
    before = len(node.processes())
    mounts = len(Path("/proc/self/mountinfo").read_text().splitlines())
    for number in range(cycles):
        sandbox = await node.keep()
        assert (await sandbox.sh("echo $((6*7))")).stdout == "42\n"
        if number % (cycles // kills) == 0:
            await killed(await sandbox.keeper())
        else:
            await sandbox.client.ask("end")
        await sandbox.gone()

    async def as_before() -> bool:
        return len(node.processes()) == before

    await eventually(as_before, what="every process is gone")
    assert len(Path("/proc/self/mountinfo").read_text().splitlines()) == mounts
