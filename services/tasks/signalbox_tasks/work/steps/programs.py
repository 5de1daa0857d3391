"""Programs in the sandbox: begun once, and read to their end by whoever has the run."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.tasks import ExecFile
from signalbox_common.dataplane import DataClient
from signalbox_common.dataplane.programs import ProgramClient
from signalbox_tasks.work.log import RunLog, read_program
from signalbox_tasks.work.refusals import understood
from signalbox_tasks.work.steps import attachments
from signalbox_tasks.work.turn import Done, Outcome, StepFailed, Stopped, Turn

_KILLED = "stopped"


class SetupStep:
    """Commands of the repository and of the task, one after the other."""

    def __init__(self, log: RunLog) -> None:
        self._log = log

    async def do(self, turn: Turn) -> Outcome:
        commands = turn.task.spec.setup
        for number, command in enumerate(commands, 1):
            env = attachments.variables(turn.task)
            program = contract.Program(argv=("/bin/sh", "-c", command), env=env, hold=True)
            end = await ended(turn, self._log, f"setup.{number}", program)
            if end.get("exitCode") != 0:
                words = command if len(command) <= 200 else f"{command[:200]}…"
                raise StepFailed("setup_failed", f"{how(end)}: {words}")
        return Done(f"{len(commands)} commands")


def how(end: dict[str, Any]) -> str:
    """In words."""
    if end.get("reason") == "disk":
        return "the sandbox had more on its disk than it may"
    if end.get("signal"):
        return f"ended by signal {end['signal']}"
    return f"exit code {end.get('exitCode')}"


async def ended(
    turn: Turn, log: RunLog, key: str, program: contract.Program, files: tuple[ExecFile, ...] = ()
) -> dict[str, Any]:
    """What it ended with, all that it has said being in the log; raises Stopped and StepFailed."""
    known = turn.run.facts.get("ended", {})
    if key in known:
        found: dict[str, Any] = known[key]
        return found
    if turn.run.stopping:
        raise Stopped
    identifier = uuid.UUID(turn.run.facts["sandbox"])
    with understood():
        async with turn.peers.sandbox(identifier) as client:
            programs = ProgramClient(client, str(identifier))
            await attachments.lay_out(turn, client, identifier)
            if key not in turn.run.facts.get("offsets", {}):
                await _lay_out(client, identifier, files)
            await turn.job.keep()
            await programs.start(key, program)
            end = await read_program(turn, log, programs, key)
    if end.get("reason") == _KILLED:
        raise Stopped
    return end


async def _lay_out(client: DataClient, sandbox: uuid.UUID, files: tuple[ExecFile, ...]) -> None:
    """Again, it is the same."""
    for file in files:
        content = file.content.encode()

        async def body(content: bytes = content) -> AsyncIterator[bytes]:
            if content:
                yield content

        mode = "0755" if file.executable else "0644"
        await client.write(
            contract.WRITE_FILE, body, sandbox=str(sandbox), path=file.path, mode=mode, parents="true"
        )
