"""A lab service whose commands are answered when their work is done.

`python -m tests.support.works FOLDER LEASE MOST` runs it in a process of its own, on the world in FOLDER. It
dies by SIGKILL when it reaches the step that stands in FOLDER.dies, and takes that file along; and it waits
at `begun` as long as FOLDER.holds is there.
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
from signalbox_common.db import Transaction
from signalbox_common.outcomes import Checkpoint, Deferred, no_checkpoint
from signalbox_common.runtime import Service, run
from signalbox_common.work import Job
from tests.support.lab import Build, Jot, LabSettings, Noted, NoteTaken, Order

BUILD, FIRM = "build", "firm"


@dataclass
class World:
    """Where no transaction reaches: each thing can be made once, and a second try is written down."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)

    def has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def make(self, name: str) -> None:
        try:
            (self.folder / name).touch(exist_ok=False)
        except FileExistsError:
            with self._doubled.open("a") as doubled:
                doubled.write(f"{name}\n")

    @property
    def made(self) -> list[str]:
        """What there is, in the order in which it came to be."""
        return [each.name for each in sorted(self.folder.iterdir(), key=lambda each: each.stat().st_mtime_ns)]

    @property
    def doubled(self) -> list[str]:
        return self._doubled.read_text().splitlines() if self._doubled.exists() else []

    @property
    def _doubled(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.doubled")

    @property
    def dies(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.dies")

    @property
    def holds(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.holds")


async def nothing(_step: str, _job: Job) -> None:
    """What a test may put in the place of a step."""


@dataclass
class Workshop:
    """Builds each thing once: looks whether it is there, builds it outside, and commits that it has."""

    world: World
    at: Callable[[str, Job], Awaitable[None]] = nothing
    """Called at the steps `begun`, `looked`, `built` and `ending`."""
    most: int = 64
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

        @app.bus.on_command(Order)
        async def order(call: Call, command: Order) -> Deferred:
            app.space.require()
            await app.work.put(
                call.transaction,
                FIRM if command.firm else BUILD,
                command.name,
                project=call.principal.project(),
                command_id=call.command_id,
                payload={"name": command.name},
            )
            return Deferred(command.name)

        @app.bus.on_command(Jot)
        async def jot(call: Call, command: Jot) -> Noted:
            outbox.emit(call.transaction, settings.service, NoteTaken(text=command.text), project=None)
            return Noted(id=command.text, handled=1)

        async def cancelled(transaction: Transaction, job: Job) -> None:
            outbox.emit(transaction, settings.service, NoteTaken(text=f"no {job.key}"), project=None)

        @app.work.on(FIRM)
        @app.work.on(BUILD, most=self.most, most_in_project=self.most, cancelled=cancelled)
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
    world, lease, most = World(Path(sys.argv[1])), float(sys.argv[2]), int(sys.argv[3])

    async def checkpoint(reached: str) -> None:
        if world.dies.exists() and world.dies.read_text() == reached:
            world.dies.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    async def at(reached: str, _job: Job) -> None:
        await checkpoint(reached)
        while reached == "begun" and world.holds.exists():
            await asyncio.sleep(0.01)

    workshop = Workshop(world, at, most=most)
    run(lambda: workshop.service(LabSettings(), checkpoint=checkpoint, lease=lease))


if __name__ == "__main__":
    main()
