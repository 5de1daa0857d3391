"""What others are told of tasks and runs."""

import uuid
from collections.abc import Iterable

from signalbox_common import outbox
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.tasks import StepState
from signalbox_common.db import Transaction
from signalbox_tasks.domain import Run, Step, Task

SCHEMA = "tasks"


def task_reply(found: Task) -> contract.Task:
    return contract.Task(
        id=found.id,
        project_id=found.project_id,
        title=found.title,
        description=found.description,
        status=found.status,
        priority=found.priority,
        labels=dict(found.labels),
        spec=found.spec,
        attachments=found.attachments,
        run_id=found.run,
        attempts=found.attempts,
        error=found.error,
        assigned_agent_id=found.spec.agent,
        schedule_id=found.schedule,
        trigger_id=found.trigger,
        git_branch=found.branch,
        pull_request_url=found.pull_request_url,
        created_by=found.created_by,
        created_at=found.created_at,
        updated_at=found.updated_at,
        completed_at=found.completed_at,
    )


def run_reply(found: Run, *, waits_for: str | None = None) -> contract.Run:
    facts = found.facts
    return contract.Run(
        id=found.id,
        project_id=found.project_id,
        task_id=found.task_id,
        attempt=found.attempt,
        message=found.wish.message,
        status=found.state,
        step=found.step,
        percent=found.percent,
        waiting_for=found.waiting_for or waits_for,
        agent_id=found.agent,
        bots=tuple(member.bot for member in found.members),
        bot=_bot_of(found),
        stop_reason=found.stop_reason,
        error=found.error,
        result=found.result,
        note=facts.get("note"),
        sandbox_id=facts.get("sandbox"),
        base=facts.get("commit"),
        restored_from=found.restores["run"] if found.restores is not None else None,
        branch=facts.get("pushedBranch") or facts.get("branch"),
        commit=facts.get("pushed"),
        pull_request_url=facts.get("pullRequestUrl"),
        log_bytes=found.log_end,
        usage=_usage_of(found),
        created_by=found.created_by,
        queued_at=found.queued_at,
        started_at=found.started_at,
        finished_at=found.finished_at,
        version=found.version,
    )


def _usage_of(found: Run) -> contract.RunUsage:
    used = found.used
    return contract.RunUsage(
        requests=used.requests,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cost=float(used.cost),
        models=tuple(
            contract.ModelUsage(
                model=name,
                requests=each.requests,
                input_tokens=each.input_tokens,
                output_tokens=each.output_tokens,
                cost=float(each.cost),
            )
            for name, each in sorted(found.usage.items())
        ),
    )


def _bot_of(found: Run) -> str | None:
    members = found.members
    return members[min(found.place, len(members) - 1)].bot if members else None


def steps_reply(run: Run, steps: Iterable[Step]) -> contract.RunSteps:
    """Those that are to come included."""
    known = {step.name: step for step in steps}
    rest = StepState.SKIPPED if run.ended else StepState.PENDING
    items = []
    for name in run.plan:
        step = known.get(name)
        if step is None:
            items.append(contract.RunStep(name=name, state=rest))
            continue
        items.append(
            contract.RunStep(
                name=name,
                state=step.state,
                started_at=step.started_at,
                finished_at=step.finished_at,
                detail=step.detail,
                error=step.error,
            )
        )
    return contract.RunSteps(items=tuple(items))


def tell(transaction: Transaction, run: Run, event: Event) -> None:
    """In the transaction that makes it true; all that is told of a run is found under its id."""
    operation, transaction.operation = transaction.operation, str(run.id)
    try:
        outbox.emit(transaction, SCHEMA, event, project=run.project_id)
    finally:
        transaction.operation = operation


def tell_of_run(transaction: Transaction, found: Run) -> None:
    facts = found.facts
    tell(
        transaction,
        found,
        contract.RunChanged(
            run=found.id,
            task=found.task_id,
            attempt=found.attempt,
            state=found.state,
            step=found.step,
            percent=found.percent,
            waiting_for=found.waiting_for,
            bot=_bot_of(found),
            agent=found.agent,
            error=found.error,
            branch=facts.get("pushedBranch") or facts.get("branch"),
            commit=facts.get("pushed"),
            pull_request_url=facts.get("pullRequestUrl"),
            version=found.version,
        ),
    )


def secrets_of(run: uuid.UUID) -> str:
    """What the names of its secrets begin with."""
    return f"runs/{run.hex}/"


def environment_name(environment: uuid.UUID) -> str:
    return f"environments/{environment.hex}"
