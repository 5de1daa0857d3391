"""A run that somebody looks on at, to its end."""

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from signalbox_cli.commands.common import console, errors

if TYPE_CHECKING:
    from signalbox_cli.tasks import TaskApi

_INTERRUPTED = 130


def follow(api: "TaskApi", task: dict[str, Any], *, as_json: bool) -> None:
    """To its end, which the exit code says."""
    from signalbox_cli.run_display import print_diff, view_for, watch

    out = errors if as_json else console
    if not as_json:
        console.print(f"task {task['id']}", style="dim")
    try:
        with view_for(out, live=not as_json) as view:
            run = watch(api, task["runId"], view)
    except KeyboardInterrupt:
        _interrupted(api, task)
    task = api.get(task["id"])
    changes = api.changes(run["id"])
    if as_json:
        steps = api.steps(run["id"])
        print(json.dumps({"task": task, "run": run, "steps": steps, "changes": changes}, indent=2))
    else:
        if changes:
            print_diff(changes, console)
        print_end(task, run)
    if run["status"] != "succeeded":
        raise typer.Exit(1)


def _interrupted(api: "TaskApi", task: dict[str, Any]) -> None:
    """Whoever looks on may go without it."""
    stays = f"It goes on: signalbox tasks logs -f {task['id']}"
    if not sys.stdin.isatty():
        errors.print(stays, soft_wrap=True)
        raise typer.Exit(_INTERRUPTED)
    try:
        wanted = typer.confirm("\nCancel it? Otherwise it goes on", default=False, err=True)
    except (KeyboardInterrupt, typer.Abort):
        wanted = False
    if wanted:
        errors.print(api.do(task["id"], "cancel")["status"])
    else:
        errors.print(stays, soft_wrap=True)
    raise typer.Exit(_INTERRUPTED)


def print_end(task: dict[str, Any], run: dict[str, Any]) -> None:
    error = run["error"]
    if error is not None:
        console.print(f"{run['status']}: {error['detail']}", style="red", markup=False, soft_wrap=True)
    if run["waitingFor"] == "confirmation":
        console.print(f"it waits for a person: signalbox tasks answer {task['id']} --approve", soft_wrap=True)
    if run["note"]:
        console.print(run["note"], style="dim", markup=False, soft_wrap=True)
    if task["pullRequestUrl"]:
        console.print(f"pull request  {task['pullRequestUrl']}", markup=False, soft_wrap=True)
    if run["commit"]:
        console.print(f"branch  {run['branch']}  commit {run['commit'][:12]}", markup=False, soft_wrap=True)
