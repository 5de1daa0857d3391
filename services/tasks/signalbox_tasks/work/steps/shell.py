"""What the task is about: each of its bots in turn, each on what the one before has left."""

import uuid
from dataclasses import dataclass

from signalbox_common import teams
from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.tasks import ExecShell, RunResult
from signalbox_common.teams import TeamMember
from signalbox_tasks.domain import CONFIRMATION
from signalbox_tasks.replies import tell_of_run
from signalbox_tasks.store import logs
from signalbox_tasks.work.log import RunLog
from signalbox_tasks.work.pausing import paused, resumed
from signalbox_tasks.work.steps import attachments
from signalbox_tasks.work.steps.collect import collected, restored
from signalbox_tasks.work.steps.programs import ended, how
from signalbox_tasks.work.turn import Asking, Done, Outcome, StepFailed, Stopped, Turn, Waiting

_DIRECT = "exec"
_LONGEST = 60_000
_PREVIOUS = 16 * 1024
"""Bytes of what the one before has said that the next one is told."""
_TOLD_OF_TASK = frozenset({"original_user", "original_and_previous"})
_TOLD_OF_PREVIOUS = frozenset({"previous_bot", "original_and_previous"})


@dataclass(frozen=True)
class ShellStep:
    log: RunLog

    async def do(self, turn: Turn) -> Outcome:
        """How far it has come stands in the run: whoever goes on begins there."""
        members = turn.run.members or _direct(turn)
        await _restore(turn)
        while (place := turn.run.place) < len(members):
            if not _is_restored(turn, place):
                await self._work(turn, place, members)
            is_last = place == len(members) - 1
            if not is_last and (waits := await _checkpoint(turn, place)) is not None:
                return waits
            if members[place].confirm and str(place) not in turn.run.facts.get("answers", {}):
                return await paused(turn, str(place)) or Asking(CONFIRMATION)
            if (waits := await resumed(turn)) is not None:
                return waits
            async with turn.transaction() as transaction:
                run = (await turn.now(transaction)).passed_on()
                if not is_last:
                    tell_of_run(transaction, run)
                await turn.save(transaction, run)
        result = turn.run.result
        said = how({"exitCode": result.exit_code}) if result is not None else None
        return Done(said)

    async def _work(self, turn: Turn, place: int, members: tuple[TeamMember, ...]) -> None:
        member = members[place]
        if member.exec is None and turn.run.stopping:
            raise Stopped
        await _note_begin(turn, place)
        if member.exec is None:
            return
        env = await _environment(turn, place, member)
        program = _program(member.exec, env)
        end = await ended(turn, self.log, f"{member.bot}.{place + 1}", program, member.exec.files)
        result = RunResult(exit_code=end.get("exitCode"), signal=end.get("signal"))
        if result != turn.run.result:
            async with turn.transaction() as transaction:
                run = await turn.now(transaction)
                await turn.save(transaction, run.with_result(result))
        if result.exit_code not in member.exec.expected_exit:
            who = f"{member.bot}: " if turn.run.members else ""
            raise StepFailed("exec_failed", f"{who}{how(end)}")


def _direct(turn: Turn) -> tuple[TeamMember, ...]:
    return (TeamMember(_DIRECT, teams.EXEC, turn.shell, passes="original_user"),)


def _program(shell: ExecShell, env: dict[str, str]) -> contract.Program:
    argv = shell.argv if shell.argv is not None else ("/bin/sh", "-c", shell.script or "")
    return contract.Program(argv=argv, cwd=shell.cwd, env=env, hold=True)


async def _note_begin(turn: Turn, place: int) -> None:
    """Where in the log it begins to speak."""
    begun = turn.run.facts.get("begun", {})
    if str(place) not in begun:
        async with turn.transaction() as transaction:
            run = await turn.now(transaction)
            await turn.save(transaction, run.knowing(begun={**begun, str(place): run.log_end}))


async def _environment(turn: Turn, place: int, member: TeamMember) -> dict[str, str]:
    """The same each time: a program is found by its key, with what it was started with."""
    task, wish = turn.task, turn.run.wish
    env = {**task.spec.parameters, "SIGNALBOX_TITLE": task.title, **attachments.variables(task)}
    if place == 0 or member.passes in _TOLD_OF_TASK:
        env["SIGNALBOX_PROMPT"] = (wish.message or task.description)[:_LONGEST]
    if place > 0 and member.passes in _TOLD_OF_PREVIOUS:
        env["SIGNALBOX_PREVIOUS"] = await _said_before(turn, place)
    if place > 0 and (answer := turn.run.facts.get("answers", {}).get(str(place - 1))):
        env["SIGNALBOX_ANSWER"] = answer
    if member.role:
        env["SIGNALBOX_ROLE"] = member.role
    if member.prompt:
        env["SIGNALBOX_INSTRUCTIONS"] = member.prompt[:_LONGEST]
    return env


async def _said_before(turn: Turn, place: int) -> str:
    restores = turn.run.restores
    if restores is not None and restores["place"] == place - 1:
        speaker, begin, end = uuid.UUID(restores["run"]), restores["begin"], restores["end"]
    else:
        begun = turn.run.facts["begun"]
        speaker, begin, end = turn.run.id, int(begun[str(place - 1)]), int(begun[str(place)])
    async with turn.database.reading() as connection:
        said = await logs.between(connection, speaker, max(begin, end - _PREVIOUS), end)
    return said.decode("utf-8", "replace").replace("\0", "")


def _is_restored(turn: Turn, place: int) -> bool:
    """Whether the work of that place was done in a sandbox that was lost."""
    restores = turn.run.restores
    return restores is not None and restores["place"] == place


async def _restore(turn: Turn) -> None:
    """Once, and before anything begins in this sandbox."""
    restores = turn.run.restores
    if restores is None or "restored" in turn.run.facts:
        return
    if turn.run.stopping:
        raise Stopped
    await restored(turn, turn.run.facts["checkpoints"][str(restores["place"])])
    async with turn.transaction() as transaction:
        run = await turn.now(transaction)
        await turn.save(transaction, run.knowing(restored=True))


async def _checkpoint(turn: Turn, place: int) -> Waiting | None:
    """What has changed until now is kept, whatever becomes of the others."""
    if "commit" not in turn.run.facts or str(place) in turn.run.facts.get("checkpoints", {}):
        return None
    if (waits := await resumed(turn)) is not None:
        return waits
    digest, _ = await collected(turn, f"checkpoint-{place + 1}.diff", goes_on=True)
    async with turn.transaction() as transaction:
        run = await turn.now(transaction)
        checkpoints = {**run.facts.get("checkpoints", {}), str(place): digest}
        await turn.save(transaction, run.knowing(checkpoints=checkpoints))
    return None
