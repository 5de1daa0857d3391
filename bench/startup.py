"""How long a stack takes to be ready, and how much memory it holds then."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench.report import Figure, Report, at_most, console
from bench.servers import ROOT, Memory, Stack, clean_environment

SETTLE = 2.0
FRESH_LIMIT = 60.0
"""Seconds that a fresh clone may take in an ordinary run."""
PATIENT_LIMIT = 900.0


def measure(stack: Stack, report: Report, *, rounds: int) -> None:
    """Expects a stack that is stopped and was started before; leaves it stopped."""
    report.look_around("startup")
    seconds: list[float] = []
    memory: list[Memory] = []
    for number in range(rounds):
        console.print(f"startup: round {number + 1} of {rounds}", style="dim")
        seconds.append(stack.up())
        time.sleep(SETTLE)
        memory.append(stack.memory())
        stack.down()
    report.figures += [
        Figure("startup", "second start, to ready", "s", seconds, at_most(6)),
        Figure("memory", "resident, started", "MB", [m.resident for m in memory], at_most(900)),
        *_proportional("started", memory),
    ]


def after_load(stack: Stack, report: Report) -> None:
    """What the stack holds when it has worked."""
    memory = [stack.memory()]
    report.figures += [
        Figure("memory", "resident, after the load above", "MB", [memory[0].resident]),
        *_proportional("after the load above", memory),
    ]


def _proportional(when: str, memory: list[Memory]) -> list[Figure]:
    values = [m.proportional for m in memory if m.proportional is not None]
    return [Figure("memory", f"proportional (PSS), {when}", "MB", values)] if values else []


def fresh(report: Report, *, patient: bool) -> None:
    """From nothing but a clone and a warm package cache to a stack that is ready."""
    limit = PATIENT_LIMIT if patient else FRESH_LIMIT
    folder = Path(tempfile.mkdtemp(prefix="signalbox-bench-fresh-"))
    folder.chmod(0o755)  # as a folder that people clone into
    tree = folder / "clone"
    stack = Stack(folder / "home", tree)
    console.print("startup: fresh clone", style="dim")
    try:
        began = time.monotonic()
        _run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(tree)], folder, limit)
        left = limit - (time.monotonic() - began)
        _run(["make", "setup"], tree, left, clean_environment(stack.home.path))
        installed = time.monotonic() - began
        stack.up()
        seconds = time.monotonic() - began
    except subprocess.TimeoutExpired:
        report.notes.append(f"fresh clone: not ready after {limit:.0f} s (--fresh waits longer)")
    else:
        report.figures += [
            Figure("startup", "fresh clone, to installed", "s", [installed]),
            Figure("startup", "fresh clone, to ready", "s", [seconds], at_most(45)),
        ]
    finally:
        if (tree / ".venv/bin/signalbox").exists():
            stack.down()
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], where: Path, limit: float, environment: dict[str, str] | None = None) -> None:
    """Ends what it started in every case, with all that came of it."""
    process = subprocess.Popen(
        command,
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=max(limit, 0.1))
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {output.strip()[-1500:]}")
