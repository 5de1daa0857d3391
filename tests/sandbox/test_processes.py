"""Programs in a sandbox: started once, read, written to, and ended with all that they have started."""

import asyncio
import hashlib
import random
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from signalbox_common.dataplane.frames import FrameKind
from signalbox_common.testing import eventually
from signalbox_sandbox.keeper.output import KEPT
from signalbox_sandbox.runtime.keepers import KeeperRefused
from tests.support.node import Node, Sandbox

MIB = 1024 * 1024


@pytest.fixture(scope="module")
async def sandbox(node: Node) -> Sandbox:
    return await node.keep()


async def test_a_program_runs_to_its_end(sandbox: Sandbox) -> None:
    ran = await sandbox.sh("echo out; echo err >&2; pwd; exit 7")
    assert (ran.stdout, ran.stderr) == ("out\n/workspace\n", "err\n")
    assert ran.end == {"state": "ended", "exitCode": 7, "signal": None, "reason": "exited"}
    ended = await sandbox.sh("kill -TERM $$")
    assert (ended.code, ended.end["signal"]) == (None, signal.SIGTERM)


async def test_it_gets_what_it_is_given(sandbox: Sandbox) -> None:
    ran = await sandbox.sh('echo "$NAME $HOME"; pwd', env={"NAME": "a b\nc"}, cwd="/tmp")
    assert ran.stdout == "a b\nc /home/user\n/tmp\n"
    unset = await sandbox.run("env")
    assert {line.partition("=")[0] for line in unset.stdout.splitlines()} == {
        *("HOME", "LANG", "PATH", "TERM", "USER", "SIGNALBOX_PROCESS")
    }


@pytest.mark.parametrize(
    ("argv", "more", "why"),
    [
        (["no-such-program"], {}, "no such program"),
        (["/etc/passwd"], {}, "no such program"),
        (["true"], {"cwd": "/nowhere"}, "No such file"),
        (["true"], {"env": {"PATH": "/nowhere"}}, "no such program"),
        (["true", "x" * 200_000], {}, "at most"),
    ],
)
async def test_what_cannot_be_started_is_said(
    sandbox: Sandbox, argv: list[str], more: dict[str, object], why: str
) -> None:
    with pytest.raises(KeeperRefused, match=why):
        await sandbox.client.start(f"bad-{random.random()}", argv, **more)


async def test_asked_for_twice_it_is_started_once(sandbox: Sandbox) -> None:
    asked = ["sh", "-c", "echo once >> /workspace/count"]
    answers = await asyncio.gather(*(sandbox.client.start("once", asked) for _ in range(10)))
    assert len({answer["pid"] for answer in answers}) == 1
    await sandbox.told("once")
    assert (await sandbox.sh("cat count")).stdout == "once\n"
    again = await sandbox.client.start("once", asked)
    assert again["state"] == "ended"
    with pytest.raises(KeeperRefused) as other:
        await sandbox.client.start("once", ["true"])
    assert other.value.code == "key_taken"


async def test_input_carries_its_offset(sandbox: Sandbox) -> None:
    client = sandbox.client
    await client.start("cat", ["cat"], stdin=True)
    assert await client.write("cat", 0, b"hello ") == 6
    assert await client.write("cat", 0, b"hello wor") == 9, "what it had is left out"
    assert await client.write("cat", 3, b"lo ") == 9
    with pytest.raises(KeeperRefused) as gap:
        await client.write("cat", 20, b"!")
    assert gap.value.code == "input_gap"
    assert await client.write("cat", 9, b"ld", close=True) == 11
    assert (await sandbox.told("cat")).stdout == "hello world"
    with pytest.raises(KeeperRefused) as closed:
        await client.write("cat", 11, b"more")
    assert closed.value.code == "input_closed"


async def test_input_waits_for_who_is_slow_to_take_it(sandbox: Sandbox) -> None:
    content = random.Random(4).randbytes(4 * MIB)
    script = (
        "import sys,hashlib,time; time.sleep(.2); print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    )
    await sandbox.client.start("digest", ["python3", "-c", script], stdin=True)
    assert await sandbox.client.write("digest", 0, content, close=True) == len(content)
    assert (await sandbox.told("digest")).stdout.strip() == hashlib.sha256(content).hexdigest()


async def test_no_input_unless_asked_for(sandbox: Sandbox) -> None:
    assert (await sandbox.run("cat")).end["exitCode"] == 0


async def test_a_terminal(sandbox: Sandbox) -> None:
    client = sandbox.client
    await client.start("shell", ["sh"], pty={"rows": 30, "cols": 100}, stdin=True)

    async def shows(text: bytes) -> None:
        said = b""
        async for frame in client.frames("shell"):
            assert frame.kind is FrameKind.PTY
            said += frame.content
            if text in said:
                return

    at = await client.write("shell", 0, b"tty; stty size\n")
    await asyncio.wait_for(shows(b"/dev/pts/"), 20)
    await asyncio.wait_for(shows(b"30 100"), 20)
    await client.ask("resize", key="shell", rows=40, cols=120)
    at = await client.write("shell", at, b"stty size; sleep 8100\n")
    await asyncio.wait_for(shows(b"40 120"), 20)

    async def sleeps() -> bool:
        return "\nsleep 8100\n" in (await sandbox.sh("ps ax -o args")).stdout

    await eventually(sleeps)
    at = await client.write("shell", at, b"\x03")  # a person's Ctrl-C ends the sleep, and not the shell
    await asyncio.wait_for(shows(b"^C\r\n$ "), 20)
    at = await client.write("shell", at, b"echo still $((40+2))\n")
    await asyncio.wait_for(shows(b"still 42"), 20)
    await client.write("shell", at, b"", close=True)
    assert (await sandbox.told("shell")).code == 0


async def test_signals_reach_all_that_it_runs(sandbox: Sandbox) -> None:
    await sandbox.client.start(
        "waits", ["sh", "-c", "trap 'echo told; exit 3' TERM; echo up; sleep 1000 & wait"]
    )

    async def up() -> bool:
        return bool([f async for f in sandbox.client.frames("waits", follow=False)])

    await eventually(up)
    await sandbox.client.ask("signal", key="waits", signal=signal.SIGTERM)
    ran = await sandbox.told("waits")
    assert (ran.stdout, ran.code) == ("up\ntold\n", 3)
    with pytest.raises(KeeperRefused) as ended:
        await sandbox.client.ask("signal", key="waits", signal=signal.SIGTERM)
    assert ended.value.code == "ended"


async def test_a_timeout_ends_the_whole_tree(sandbox: Sandbox) -> None:
    """Children, those in sessions of their own, and daemons whose parents have ended."""
    script = "sleep 7001 & setsid sleep 7002 & (setsid sh -c 'sleep 7003 & sleep 7004' &) ; sleep 7005"
    ran = await sandbox.sh(script, timeout=0.5)
    assert (ran.end["signal"], ran.end["reason"]) == (signal.SIGKILL, "timeout")

    async def none_left() -> bool:
        return "sleep 700" not in (await sandbox.sh("ps ax -o args")).stdout

    await eventually(none_left)


async def test_a_daemon_holds_up_nobody(sandbox: Sandbox) -> None:
    """It goes on when its command has ended, and may write what nobody reads."""
    script = "(sleep 0.4; yes | head -c 1000000; echo done > /workspace/daemon) & echo started"
    await sandbox.client.start("leaves-one", ["sh", "-c", script])
    ran = await sandbox.told("leaves-one")
    assert (ran.stdout, ran.code) == ("started\n", 0)

    async def done() -> bool:
        return (await sandbox.sh("cat /workspace/daemon")).stdout == "done\n"

    await eventually(done)
    assert (await sandbox.told("leaves-one")).stdout == "started\n", "what was told stays so"


async def test_a_daemon_that_never_stops_talking_holds_up_nobody(sandbox: Sandbox) -> None:
    await sandbox.client.start(
        "talks-on", ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do yes & done; echo started"]
    )
    async with asyncio.timeout(20):
        assert (await sandbox.told("talks-on")).code == 0
        assert (await sandbox.sh("echo fine")).stdout == "fine\n"
        await sandbox.client.ask("end-process", key="talks-on")
        assert "yes" not in (await sandbox.sh("ps ax -o comm")).stdout.split()


# -- output ------------------------------------------------------------------------------------------------


async def test_what_nobody_reads_in_time_is_a_gap(sandbox: Sandbox) -> None:
    size = 3 * KEPT
    await sandbox.client.start("much", ["sh", "-c", f"head -c {size} /dev/zero; echo end"])

    async def ended() -> bool:
        processes = (await sandbox.client.ask("processes"))["processes"]
        return any(each["key"] == "much" and each["state"] == "ended" for each in processes)

    await eventually(ended)
    frames = [frame async for frame in sandbox.client.frames("much")]
    assert frames[0].kind is FrameKind.GAP
    gap = int.from_bytes(frames[0].content, "big")
    rest = b"".join(frame.content for frame in frames[1:-1])
    assert gap + len(rest) == size + 4
    assert rest.endswith(b"\x00end\n")


async def test_a_program_that_is_held_waits_for_its_reader(sandbox: Sandbox) -> None:
    size = 3 * KEPT
    script = f"import os; os.write(2, b'up'); print('x' * {size}, end='')"
    await sandbox.client.start("held", ["python3", "-c", script], hold=True)

    async def full() -> bool:
        (held,) = [e for e in (await sandbox.client.ask("processes"))["processes"] if e["key"] == "held"]
        return bool(held["end"] == KEPT)

    await eventually(full)
    taken = 0
    async for frame in sandbox.client.frames("held"):
        assert frame.kind is not FrameKind.GAP
        if frame.kind is FrameKind.END:
            break
        taken += len(frame.content)
        await sandbox.client.ask("confirm", key="held", offset=taken)
    assert taken == size + 2


@pytest.mark.parametrize(
    ("size", "kills"), [(100 * MIB, 5), pytest.param(1024 * MIB, 50, marks=pytest.mark.proof)]
)
async def test_no_byte_is_lost_when_who_reads_is_killed(
    sandbox: Sandbox, tmp_path: Path, size: int, kills: int
) -> None:
    """Whoever comes next goes on from what was kept, with the same process."""
    key = f"long-{size}"
    script = (
        "import hashlib, random, sys; r = random.Random(5); d = hashlib.sha256(); left = int(sys.argv[1])\n"
        "while left:\n"
        "    b = r.randbytes(min(left, 65536)); d.update(b); left -= len(b); sys.stdout.buffer.write(b)\n"
        "sys.stdout.flush(); print(d.hexdigest(), file=sys.stderr)"
    )
    await sandbox.client.start(key, ["python3", "-c", script, str(size)], hold=True)
    kept = tmp_path / "kept"
    reader = [sys.executable, "-m", "tests.support.output_reader", str(sandbox.folder), key, str(kept)]
    made, reattached = 0, list[float]()
    while True:
        process = await asyncio.create_subprocess_exec(*reader, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        first = await process.stdout.readline()
        if made:
            reattached.append(float(first))
        if made < kills:
            at = kept.stat().st_size

            async def read_on(at: int = at, process: asyncio.subprocess.Process = process) -> bool:
                return kept.stat().st_size > at + size // (2 * kills) or process.returncode is not None

            await eventually(read_on)
            process.kill()
            made += 1
            await process.wait()
            continue
        assert await asyncio.wait_for(process.wait(), 120) == 0
        break
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert kept.stat().st_size == size
    assert kept.with_suffix(".err").read_text().strip() == digest
    print(
        f"\n{size // MIB} MiB through {made} SIGKILLs of their reader: none lost; attached again in "
        f"{1000 * sorted(reattached)[len(reattached) // 2]:.0f} ms"
    )


async def test_whoever_comes_later_fences_off_who_was_before(sandbox: Sandbox) -> None:
    await sandbox.client.ask("status", fence=7)
    with pytest.raises(KeeperRefused) as fenced:
        await sandbox.client.ask("status", fence=6)
    assert fenced.value.code == "fenced"
    await sandbox.client.ask("status", fence=7)
    await sandbox.client.ask("status")


async def test_what_it_is_told_wrongly_ends_nothing(sandbox: Sandbox) -> None:
    asked = {"argv": ["true"]}
    await sandbox.client.start("once", ["sh", "-c", "echo once >> /workspace/count"])
    wrong: tuple[dict[str, Any], ...] = (
        {"do": "nothing-known"},
        {"do": "start"},
        {"do": "start", "key": "k", "asked": {}},
        {"do": "start", "key": "k", "asked": {"argv": []}},
        {"do": "start", "key": "k", "asked": {"argv": [1, 2]}},
        {"do": "start", "key": "k", "asked": {"argv": ["true", "\0"]}},
        {"do": "start", "key": "k", "asked": asked | {"env": {"A": 1}}},
        {"do": "start", "key": "k", "asked": asked | {"timeout": "soon"}},
        {"do": "start", "key": "k", "asked": asked | {"pty": {"rows": -1, "cols": 70_000}}},
        {"do": "start", "key": "k", "asked": asked | {"pty": {"rows": "many"}}},
        {"do": "input", "key": "unknown", "offset": 0, "size": 0},
        {"do": "input", "key": "once", "offset": "here", "size": 0},
        {"do": "input", "key": "once", "offset": 0, "size": -1},
        {"do": "output", "key": "once", "from": "here"},
        {"do": "output", "key": "once", "from": -1},
        {"do": "confirm", "key": "once", "offset": 1.5},
        {"do": "resize", "key": "unknown", "rows": 1, "cols": 1},
        {"do": "signal", "key": "once", "signal": 9_999},
        {"do": "set-deadline", "seconds": "never"},
    )
    for request in wrong:
        with pytest.raises(KeeperRefused):
            await sandbox.client.ask(**request)
    with pytest.raises(KeeperRefused):
        await sandbox.client.ask("confirm", key="unknown", offset=0)
    assert (await sandbox.sh("echo fine")).stdout == "fine\n"


async def test_however_many_speak_their_keeper_stays_small(node: Node) -> None:
    sandbox = await node.keep(limits={"pids": 200})
    keeper = psutil.Process(await sandbox.keeper())
    keys = [f"loud-{number}" for number in range(24)]
    for key in keys:
        hold = key.endswith("0")
        script = "head -c 9000000 /dev/zero"
        await sandbox.client.start(key, ["sh", "-c", script], hold=hold)

    async def nobody_runs_but_those_that_are_held() -> bool:
        found = (await sandbox.client.ask("processes"))["processes"]
        return all(each["state"] == "ended" or each["key"].endswith("0") for each in found)

    await eventually(nobody_runs_but_those_that_are_held)
    assert keeper.memory_info().rss < 160 * 1024 * 1024
    for key in (each for each in keys if each.endswith("0")):
        at = 0
        async for frame in sandbox.client.frames(key):
            assert frame.kind is not FrameKind.GAP, "what is held is not lost"
            assert frame.offset == at
            at = frame.following
            await sandbox.client.ask("confirm", key=key, offset=at)
        assert at == 9_000_000
