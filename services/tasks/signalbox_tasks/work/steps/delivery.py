"""What the run has changed, as a commit on a branch, and as a pull request."""

import re
from typing import Any

from signalbox_common.contracts import git
from signalbox_common.contracts.git import DeliveryState
from signalbox_common.errors import SignalboxError
from signalbox_tasks.domain import Run, Task
from signalbox_tasks.service.news import of_delivery
from signalbox_tasks.work.asking import refused
from signalbox_tasks.work.turn import Done, Outcome, StepFailed, Stopped, Turn, Waiting

NOTHING = "There was nothing to commit."
_ABOUT = of_delivery(0)
_NOBODYS_HOST = "users.signalbox.invalid"
_COMMIT = re.compile(r"[0-9a-f]{40,64}")
_NOT_IN_NAMES = re.compile(r"[<>\r\n]")
_LONGEST_MESSAGE, _LONGEST_TITLE = 20_000, 250
_SUCCEEDED = frozenset({DeliveryState.PUSHED, DeliveryState.OPENED})


class DeliveryStep:
    async def do(self, turn: Turn) -> Outcome:
        """Begun, it is waited for, even by a run that is stopped: git finishes what is under way."""
        is_new = turn.request is None
        if is_new and turn.run.stopping:
            raise Stopped
        command = await turn.command(_wanted(turn))
        found = await turn.heard(_ABOUT)
        if not (found is not None and found["final"]) and not is_new and turn.may_look:
            found = await _asked(turn) or found
            if found is None:
                await refused(turn, command, "delivery_failed")
        if found is None or not found["final"]:
            return Waiting(_ABOUT, int(found["version"]) if found is not None else 0)
        return _outcome(found)


def _wanted(turn: Turn) -> git.Deliver:
    task, facts = turn.task, turn.run.facts
    bundle = facts.get("bundle")
    return git.Deliver(
        run=turn.run.id,
        task=task.id,
        repository=task.spec.repository,
        base=facts["commit"],
        changes=facts["changes"] if bundle is None else None,
        bundle=bundle,
        message=message_of(task, turn.run.wish.message),
        author=author_of(turn.run),
        branch=task.target_branch,
        expected=facts["commit"] if turn.run.wish.goes_on else task.pushed,
        pull_request=_pull_request(task, task.target or facts["base"]),
        workflow_files=turn.run.wish.workflow_files or task.spec.workflow_files,
        findings=turn.run.wish.findings or "refuse",
    )


def author_of(run: Run) -> git.CommitPerson:
    """Whoever asked for it."""
    name = _NOT_IN_NAMES.sub("", run.created_by_name)
    return git.CommitPerson(name=name, email=f"{name}@{_NOBODYS_HOST}")


def message_of(task: Task, wanted: str | None) -> str:
    text = (wanted or f"{task.title}\n\n{task.description}").strip()
    return text[:_LONGEST_MESSAGE]


def _pull_request(task: Task, base: str) -> git.WantedPullRequest | None:
    """From a commit there is no branch to ask for one to."""
    options = task.spec.pull_request
    if options is False or _COMMIT.fullmatch(base):
        return None
    title = options.title or task.title
    return git.WantedPullRequest(
        target=base, title=title[:_LONGEST_TITLE], body=task.description[:60_000], draft=options.draft
    )


async def _asked(turn: Turn) -> dict[str, Any] | None:
    try:
        found = await turn.peers.query(git.GetDelivery(run=turn.run.id, ordinal=0))
    except SignalboxError as error:
        if error.code != "delivery_not_found":
            raise
        return None
    return found.model_dump(mode="json", by_alias=True)


def _outcome(found: dict[str, Any]) -> Outcome:
    state, error = DeliveryState(found["state"]), found.get("error") or {}
    if state in _SUCCEEDED:
        facts = {"pushed": found["commit"], "pushedBranch": found["branch"]}
        link = found.get("pullRequest")
        if link:
            facts["pullRequestUrl"] = link["url"]
        if found.get("note"):
            facts["note"] = found["note"]
        return Done(f"{found['commit'][:12]} on {found['branch']}", facts)
    if state is DeliveryState.UNCHANGED:
        return Done(NOTHING, {"note": NOTHING})
    if state is DeliveryState.STOPPED:
        raise Stopped
    code = "delivery_refused" if state is DeliveryState.REFUSED else "delivery_failed"
    detail = error.get("detail", "It could not be delivered.")
    raise StepFailed(code, detail, retryable=bool(error.get("retryable")))
