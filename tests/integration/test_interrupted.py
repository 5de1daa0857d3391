"""However a run of tests ends, nothing of it is left: no server, no service, no folder."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from signalbox_common.testing import eventually
from tests.support.run import started_in

ROOT = Path(__file__).parents[2]
RUN = Path(__file__).with_name("interrupted_run.py")
XDIST = ["-n", "1", "--max-worker-restart", "0"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("options", "whom", "number"),
    [
        ([], "controller", signal.SIGINT),
        ([], "controller", signal.SIGTERM),
        (XDIST, "controller", signal.SIGKILL),
        (XDIST, "worker", signal.SIGKILL),
    ],
    ids=["ctrl-c", "sigterm", "sigkill of the controller", "sigkill of a worker"],
)
async def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, options: list[str], whom: str, number: signal.Signals
) -> None:
    report = tmp_path / "report"
    controller = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:randomly",
            "-p",
            "no:cacheprovider",
            *options,
            str(RUN),
        ],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        | {"INTERRUPTED_RUN": str(report)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:

        async def in_the_middle() -> bool:
            assert controller.poll() is None
            return report.exists() and bool(report.read_text(encoding="utf-8"))

        await eventually(in_the_middle, within=200, what="the middle of the run")
        worker, _, written = report.read_text(encoding="utf-8").partition(" ")
        folder = Path(written)
        begun = {process.name() for process in started_in(folder)}
        assert begun >= {"postgres", "nats-server", "valkey-server"}
        assert len(begun) > 3, "the service, too"
        os.kill(int(worker) if whom == "worker" else controller.pid, number)

        async def nothing() -> bool:
            assert started_in(folder) == []
            return not folder.exists() and not psutil.pid_exists(int(worker))

        await asyncio.to_thread(controller.wait, 60)
        await eventually(nothing, what="nothing is left")
    finally:
        controller.kill()
        controller.wait()
