"""A lab service whose commands are answered when their work is done.

`python -m tests.support.works FOLDER STEP ARMED LEASE` runs it in a process of its own, which dies by
SIGKILL when it reaches STEP while the file ARMED is there, and takes the file along.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from signalbox_common import outbox
from signalbox_common.bus import Call
from signalbox_common.inbox import Checkpoint, Deferred, no_checkpoint
from signalbox_common.runtime import Service, run
from signalbox_common.work import Job
from tests.support.lab import Build, LabSettings, Noted, NoteTaken

BUILD = "build"


@dataclass
class World:
    """Where no transaction reaches: each thing can be made once, and every try is written down."""

    folder: Path

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def make(self, name: str) -> None:
        with (self.folder / ".tries").open("a") as tries:
            tries.write(f"{name}\n")
        (self.folder / name).touch(exist_ok=False)

    @property
    def tries(self) -> list[str]:
        """What was made, as often as somebody set about it."""
        log = self.folder / ".tries"
        return log.read_text().splitlines() if log.exists() else []


async def nothing(_step: str, _job: Job) -> None:
    """What a test may put in the place of a step."""


@dataclass
class Workshop:
    """Builds each thing once: looks whether it is there, builds it outside, and commits that it has."""

    world: World
    at: Callable[[str, Job], Awaitable[None]] = nothing
    """Called at the steps `begun`, `looked`, `built` and `ending`."""
    most_in_project: int = 16
    started: list[str] = field(default_factory=list)
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    def service(
        self, settings: LabSettings, *, checkpoint: Checkpoint = no_checkpoint, lease: float | None = None
    ) -> Service:
        app = Service(settings, checkpoint=checkpoint)
        if lease is not None:
            app.work.table.lease = lease
            app.work.heartbeat = lease / 3

        @app.bus.on_command(Build)
        async def build(call: Call, command: Build) -> Deferred:
            payload = {"name": command.name}
            await app.work.put(
                call.transaction, BUILD, command.name, command_id=call.command_id, payload=payload
            )
            return Deferred(command.name)

        @app.work.on(BUILD, most_in_project=self.most_in_project)
        async def do_build(job: Job) -> None:
            name = job.payload["name"]
            self.started.append(name)
            self.begun.set()
            await self.at("begun", job)
            if not self.world.has(name):
                await job.keep()
                await self.at("looked", job)
                self.world.make(name)
            await self.at("built", job)
            async with job.transaction() as transaction:
                outbox.emit(transaction, settings.service, NoteTaken(text=name), project=None)
                await job.done(transaction, Noted(id=name, handled=job.attempts))
                await self.at("ending", job)

        return app


def main() -> None:
    folder, step, armed, lease = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])

    async def checkpoint(reached: str) -> None:
        if reached == step and armed.exists():
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    async def at(reached: str, _job: Job) -> None:
        await checkpoint(reached)

    workshop = Workshop(World(folder), at)
    run(lambda: workshop.service(LabSettings(), checkpoint=checkpoint, lease=lease))


if __name__ == "__main__":
    main()
