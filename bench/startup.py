"""How long a stack takes to be ready, and how much memory it holds then."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from bench.report import Line, Note, Report, at_most, console
from bench.servers import Stack, clean_environment

SETTLE = 2.0
FRESH_LIMIT = 60.0
"""Seconds that a fresh clone may take in an ordinary run."""
PATIENT_LIMIT = 900.0


def measure(stack: Stack, note: Note) -> None:
    """Starts a stack that was started before, and leaves it running."""
    note(Line("startup", "second start, to ready", "s", at_most(2.5)), stack.up())
    time.sleep(SETTLE)
    memory(stack, note, "started")


def memory(stack: Stack, note: Note, when: str) -> None:
    held = stack.memory()
    goal = at_most(400) if when == "started" else None
    note(Line("memory", f"proportional (PSS), {when}", "MB", goal), held.proportional)
    note(Line("memory", f"resident (RSS), {when}", "MB"), held.resident)


def fresh(tree: Path, note: Note, report: Report, *, patient: bool) -> None:
    """From nothing but a clone and a warm package cache to a stack that is ready."""
    limit = PATIENT_LIMIT if patient else FRESH_LIMIT
    folder = Path(tempfile.mkdtemp(prefix="signalbox-bench-fresh-"))
    folder.chmod(0o755)  # as a folder that people clone into
    clone = folder / "clone"
    stack = Stack(folder / "home", clone)
    console.print(f"startup: fresh clone of {tree}", style="dim")
    try:
        began = time.monotonic()
        _run(["git", "clone", "--quiet", "--no-hardlinks", str(tree), str(clone)], folder, limit)
        left = limit - (time.monotonic() - began)
        _run(["make", "setup"], clone, left, clean_environment(stack.home.path))
        installed = time.monotonic() - began
        stack.up()
        seconds = time.monotonic() - began
    except subprocess.TimeoutExpired:
        report.notes.append(f"fresh clone of {tree}: not ready after {limit:.0f} s (--fresh waits longer)")
    else:
        note(Line("startup", "fresh clone, to installed", "s"), installed)
        note(Line("startup", "fresh clone, to ready", "s", at_most(45)), seconds)
    finally:
        if (clone / ".venv/bin/signalbox").exists():
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
