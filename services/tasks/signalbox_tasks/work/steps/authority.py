"""The right to act for whoever asked for the run, taken when it is needed first."""

import math

from signalbox_tasks.work.delegations import MOST_HOURS, Delegations, NotDelegated
from signalbox_tasks.work.turn import Done, Outcome, StepFailed, Turn

_HOURS = 2
"""Beyond the time of the run, for what comes after it."""


class AuthorityStep:
    def __init__(self, delegations: Delegations) -> None:
        self._delegations = delegations

    async def do(self, turn: Turn) -> Outcome:
        run = turn.run
        hours = min(MOST_HOURS, math.ceil(turn.task.spec.timeout / 3600) + _HOURS)
        try:
            await self._delegations.take(
                turn.job,
                run.authority,
                command=turn.id_of("delegate"),
                proof_at=run.proof_at,
                hours=hours,
                operation=str(run.id),
            )
        except NotDelegated as error:
            raise StepFailed("not_delegated", str(error)) from error
        return Done()
