"""The sandbox of the run."""

import uuid
from typing import Any

from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_common.errors import QuotaExceeded, SignalboxError
from signalbox_tasks.service.environments import Environments
from signalbox_tasks.service.news import of_sandbox
from signalbox_tasks.work.turn import Done, Outcome, StepFailed, Stopped, Turn, Waiting

NAMES = ("main", "main-2")
"""One that is lost before anything was begun in it is made once more."""
_AFTER = 120
"""Seconds that it has beyond the time of the run."""
_MOST = 30 * contract.DAY
_ENDED = frozenset({SandboxStatus.FAILED, SandboxStatus.LOST, SandboxStatus.DESTROYED})


class SandboxStep:
    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    async def do(self, turn: Turn) -> Outcome:
        if turn.run.stopping:
            raise Stopped
        reason = None
        for name in NAMES:
            found = await turn.heard(of_sandbox(name))
            if found is None or (found["state"] == SandboxStatus.CREATING and turn.may_look):
                found = await self._created(turn, name) or found
            if found is None:
                return Waiting(of_sandbox(name), 0)
            state = SandboxStatus(found["state"])
            if state is SandboxStatus.RUNNING:
                return Done(f"{found['sandbox']}", {"sandbox": found["sandbox"], "sandboxName": name})
            if state not in _ENDED:
                return Waiting(of_sandbox(name), int(found["version"]))
            reason = found.get("reason")
        raise StepFailed("sandbox_failed", reason or "There was no sandbox to be had.", retryable=True)

    async def _created(self, turn: Turn, name: str) -> dict[str, Any] | None:
        """Asked for again, it is answered with the same one."""
        await turn.job.keep()
        try:
            made = await turn.peers.ask(await self._wanted(turn, name), turn.id_of(name))
        except SignalboxError as error:
            if error.code == "already_done":
                made = await turn.peers.query(contract.GetSandbox(owner=_owner(turn, name)))
            elif error.code == QuotaExceeded.code:
                return None  # until another one has ended
            elif error.code == "run_ended":
                raise Stopped from error
            elif error.final:
                raise StepFailed(error.code, error.detail) from error
            else:
                raise
        return {"sandbox": str(made.id), "state": made.status, "reason": made.reason, "version": 0}

    async def _wanted(self, turn: Turn, name: str) -> contract.CreateSandbox:
        spec, facts = turn.task.spec, turn.run.facts
        env: dict[str, str] = {}
        shell = turn.shell
        if shell is not None and shell.environment is not None:
            env = await self._environments.read(shell.environment)
        workspace = None
        if "checkout" in facts:
            workspace = contract.SandboxWorkspace(
                checkout=uuid.UUID(facts["checkout"]),
                repository=spec.repository,
                commit=facts["commit"],
                branch=facts["branch"],
            )
        return contract.CreateSandbox.model_validate(
            {
                "owner": _owner(turn, name),
                "template": spec.template,
                "workspace": workspace,
                "env": env,
                "limits": spec.limits,
                "lifetime": min(spec.timeout + _AFTER, _MOST),
                "network": spec.network,
                "labels": {"task": str(turn.task.id), "run": str(turn.run.id)},
            }
        )


def _owner(turn: Turn, name: str) -> contract.SandboxOwner:
    return contract.SandboxOwner(run=turn.run.id, name=name)
