"""The tree that the run begins with: git prepares it."""

from typing import Any

from signalbox_common.contracts import git
from signalbox_common.contracts.git import CheckoutState
from signalbox_common.errors import SignalboxError
from signalbox_tasks.service.news import CHECKOUT
from signalbox_tasks.work.asking import refused
from signalbox_tasks.work.turn import Done, Outcome, StepFailed, Turn, Waiting


class CheckoutStep:
    async def do(self, turn: Turn) -> Outcome:
        if turn.run.stopping:
            return Done()
        spec = turn.task.spec
        if spec.repository is None:
            raise StepFailed("checkout_failed", "The task has no repository.")
        is_new = turn.request is None
        goes_on = turn.run.wish.goes_on and turn.task.pushed is not None
        restores = turn.run.restores
        command = await turn.command(
            git.Prepare(
                run=turn.run.id,
                repository=spec.repository,
                ref=restores["commit"] if restores is not None else spec.base,
                branch=turn.task.target_branch if goes_on and restores is None else None,
                new_branch=turn.task.target_branch,
            )
        )
        found = await turn.heard(CHECKOUT)
        if (found is None or found["state"] == CheckoutState.PREPARING) and not is_new and turn.may_look:
            found = await _asked(turn) or found
            if found is None:
                await refused(turn, command, "checkout_failed")
        return _outcome(found, base=restores["base"] if restores is not None else None)


async def _asked(turn: Turn) -> dict[str, Any] | None:
    try:
        found = await turn.peers.query(git.GetCheckout(run=turn.run.id))
    except SignalboxError as error:
        if error.code != "checkout_not_found":
            raise
        return None
    return found.model_dump(mode="json", by_alias=True)


def _outcome(found: dict[str, Any] | None, *, base: str | None) -> Outcome:
    if found is None or found["state"] == CheckoutState.PREPARING:
        return Waiting(CHECKOUT, int(found["version"]) if found is not None else 0)
    if found["state"] == CheckoutState.FAILED:
        error = found.get("error") or {}
        detail = error.get("detail", "The checkout could not be prepared.")
        raise StepFailed("checkout_failed", detail, retryable=bool(error.get("retryable")))
    facts = {name: found[name] for name in ("checkout", "commit", "branch", "base")}
    if base is not None:  # that which the commit was once found by
        facts["base"] = base
    return Done(f"{found['commit'][:12]} of {facts['base']}", facts)
