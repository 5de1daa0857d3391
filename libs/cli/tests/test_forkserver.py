"""Programs are forked from one warm process, and share nothing with each other that could do harm."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from signalbox_cli.stack.forkserver import ForkServer
from signalbox_cli.stack.home import MARK
from signalbox_cli.stack.processes import Process
from signalbox_cli.stack.program import Program
from signalbox_common.testing import eventually

PROBE = """
import json, os, random, signal, sys, uuid
if "BROKEN" in os.environ:
    raise RuntimeError("broken on purpose")
seen_at_import = os.environ.get("EVERYBODYS")
def main():
    print(json.dumps({
        "pid": os.getpid(), "session": os.getsid(0), "environment": dict(os.environ), "arguments": sys.argv,
        "shown": open("/proc/self/cmdline").read().rstrip(chr(0)).split(chr(0)), "random": random.random(),
        "descriptors": {name: os.readlink("/proc/self/fd/" + name) for name in os.listdir("/proc/self/fd")
                        if os.path.exists("/proc/self/fd/" + name)},
        "shown environment": open("/proc/self/environ").read(), "seen at import": seen_at_import,
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    }), flush=True)
    if "CODE" in os.environ:
        sys.exit(int(os.environ["CODE"]))
    signal.pause()
"""
THREAD = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
CONNECTION = "import socket\nkept = socket.socketpair()\n"


class Bench:
    """A fork server with a probe to fork, and what the probes say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: ForkServer | None = None
        self.process: Process | None = None
        self.forked: list[Process] = []

    async def start(self, *modules: str) -> ForkServer:
        self.server = self.server or ForkServer(modules or ("probe",))
        self.process = await self.server.start(self.server.program(), self.folder / "forkserver.log")
        return self.server

    async def fork(self, name: str, module: str = "probe", **environment: str) -> Process:
        assert self.server is not None
        process = await self.server.fork(module, self.folder / f"{name}.log", environment=environment)
        self.forked.append(process)
        return process

    async def said(self, name: str) -> dict[str, Any]:
        async def line() -> dict[str, Any] | None:
            text = (self.folder / f"{name}.log").read_text()
            return json.loads(text) if text.endswith("\n") else None

        said = await eventually(line)
        assert said is not None
        return said


async def _never() -> bool:
    return False


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    for name, text in {"probe": PROBE, "threaded": THREAD, "connected": CONNECTION}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv(MARK, str(tmp_path))
    bench = Bench(tmp_path)
    yield bench
    for process in [*bench.forked, *filter(None, [bench.process])]:
        if not process.ended:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    if bench.server is not None:
        bench.server.close()


async def test_each_has_its_own_environment_and_nobody_can_look_it_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERYBODYS", "key-of-the-user")
    await bench.start()
    await bench.fork("one", OWN="secret-of-one", EMPTY="")
    await bench.fork("two", OWN="secret-of-two")
    one, two = await bench.said("one"), await bench.said("two")
    assert (one["environment"]["OWN"], one["environment"]["EMPTY"]) == ("secret-of-one", "")
    assert "secret-of-two" not in json.dumps(one)
    assert "secret-of-one" not in json.dumps(two)
    for said in (one, two):
        assert said["environment"]["EVERYBODYS"] == said["seen at import"] == "key-of-the-user"
        assert f"{MARK}={bench.folder}" in said["shown environment"]
        assert "key-of-the-user" not in said["shown environment"]
        assert "secret" not in said["shown environment"]


async def test_each_is_as_if_it_were_started_alone(bench: Bench) -> None:
    await bench.start()
    processes = [await bench.fork(name) for name in ("one", "two")]
    one, two = await bench.said("one"), await bench.said("two")
    assert [one["pid"], two["pid"]] == [process.pid for process in processes]
    assert one["session"] == one["pid"]
    assert one["random"] != two["random"]
    assert one["interrupt"]
    assert one["arguments"] == ["signalbox_common.start", "probe"]
    assert one["shown"][1:] == ["-m", "signalbox_common.start", "probe"]
    log = str(bench.folder / "one.log")
    assert one["descriptors"] == {"0": os.devnull, "1": log, "2": log}


async def test_sockets_are_handed_down(bench: Bench) -> None:
    server = await bench.start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        program = Program("one", "service", _never, module="probe", sockets={"LISTEN": listener.fileno()})
        bench.forked.append(await server.launch(program, bench.folder / "one.log"))
        said = await bench.said("one")
        ours = Path(f"/proc/self/fd/{listener.fileno()}").readlink()
    assert said["descriptors"][said["environment"]["LISTEN"]] == str(ours)


@pytest.mark.parametrize("code", [0, 3])
async def test_how_it_ended_is_known(bench: Bench, code: int) -> None:
    await bench.start()
    ended = await bench.fork("ended", CODE=str(code))
    killed = await bench.fork("killed")
    assert await ended.wait() == code
    killed.send_signal(signal.SIGKILL)
    assert await killed.wait() == -signal.SIGKILL
    assert killed.ended
    with pytest.raises(ProcessLookupError):
        killed.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(("module", "reason"), [("threaded", "2 threads"), ("connected", "socket:")])
async def test_a_fork_that_would_share_a_connection_or_a_lock_is_refused(
    bench: Bench, module: str, reason: str
) -> None:
    server = await bench.start(module, "probe")
    await eventually(server.program().ready)
    for _ in range(2):
        with pytest.raises(OSError, match=reason):
            await bench.fork("one")
    assert bench.process is not None
    assert psutil.Process(bench.process.pid).children() == []


async def test_what_was_forked_outlives_the_fork_server_and_is_watched_on(bench: Bench) -> None:
    await bench.start()
    process = await bench.fork("one")
    assert bench.process is not None
    bench.process.send_signal(signal.SIGKILL)
    assert await bench.process.wait() == -signal.SIGKILL

    async def refused() -> bool:
        try:
            await bench.fork("early")
        except OSError:
            return True
        return False

    await eventually(refused)
    assert (await bench.said("one"))["pid"] == process.pid
    assert not process.ended
    await bench.start()
    successor = await bench.fork("two")
    process.send_signal(signal.SIGTERM)
    assert await process.wait() is None, "nobody could say how"
    assert not successor.ended


async def test_it_ends_with_the_supervisor_and_what_it_forked_does_not(bench: Bench) -> None:
    server = await bench.start()
    process = await bench.fork("one")
    server.close()
    assert bench.process is not None
    assert await asyncio.wait_for(bench.process.wait(), 10) == 0
    assert psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE


async def test_nothing_runs_that_nobody_waits_for(bench: Bench) -> None:
    """A supervisor that is stopped while it starts something must not leave it behind."""
    server = await bench.start()
    await eventually(server.program().ready)
    assert bench.process is not None
    bench.process.send_signal(signal.SIGSTOP)
    asking = asyncio.create_task(bench.fork("one"))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    bench.process.send_signal(signal.SIGCONT)
    process = await bench.fork("two")
    children = psutil.Process(bench.process.pid).children

    async def alone() -> bool:
        return [child.pid for child in children()] == [process.pid]

    await bench.said("two")
    await eventually(alone)
    assert (bench.folder / "one.log").read_text() == ""


async def test_a_module_that_cannot_be_imported_harms_only_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKEN", "yes")
    (bench.folder / "sound.py").write_text("def main(): print('{}', flush=True)\n")
    await bench.start("probe", "sound")
    broken = await bench.fork("broken")
    sound = await bench.fork("sound", module="sound")
    assert (await broken.wait(), await sound.wait()) == (1, 0)
    assert "broken on purpose" in (bench.folder / "broken.log").read_text()
