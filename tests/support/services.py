"""Services as processes of their own, so that they can be killed."""

import asyncio
import sys
from pathlib import Path

from signalbox_cli.stack.program import Program, free_port
from signalbox_cli.stack.services import http_ok
from tests.support.installation import Installation
from tests.support.processes import Running

ROOT = Path(__file__).parents[2]


def process(installation: Installation, service: str, log: Path, argv: list[str] | None = None) -> Running:
    port = free_port()

    async def ready() -> bool:
        return await http_ok(port, "/health/ready")

    program = Program(
        name=service,
        kind="service",
        argv=[sys.executable, *(argv or ["-m", "signalbox_common.start", f"signalbox_{service}.app"])],
        env={**installation.environment(service), "SIGNALBOX_HEALTH_PORT": str(port)},
        cwd=ROOT,
        ready=ready,
    )
    return Running(program, log)


async def restarting(running: Running) -> None:
    """What a supervisor does: starts it again whenever it is dead; until cancelled."""
    while True:
        if not running.alive:
            running.spawn()
        await asyncio.sleep(0.05)
