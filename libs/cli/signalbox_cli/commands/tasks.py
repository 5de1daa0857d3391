"""`signalbox run` and `signalbox tasks`: have something done, and see how far it is."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from signalbox_cli.commands.common import (
    AllowOption,
    EnvOption,
    JsonOption,
    ProjectOption,
    PublicOption,
    UrlOption,
    cell,
    console,
    fail,
    network_of,
    pairs,
    plain,
    speaking_http,
)
from signalbox_cli.commands.run_output import follow, print_end
from signalbox_cli.commands.timing import (
    AtOption,
    CronOption,
    EveryOption,
    MisfireOption,
    OverlapOption,
    ZoneOption,
    given,
    timing,
)
from signalbox_cli.commands.triggering import (
    EventOption,
    HookOption,
    OnlyOption,
    PerMinuteOption,
    TakeOption,
    rules,
)
from signalbox_cli.commands.triggers import show_key

if TYPE_CHECKING:
    from signalbox_cli.tasks import TaskApi

app = typer.Typer(help="What is done in runs, and how far it is.", no_args_is_help=True)

TaskId = Annotated[str, typer.Argument(metavar="TASK", help="Its id, or the beginning or end of it.")]
_LONGEST_TITLE = 80


@contextmanager
def _open(url: str | None) -> Iterator["TaskApi"]:
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.tasks import TaskApi

        with open_client(find_url(url)) as http:
            yield TaskApi(http)


def run(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- COMMAND…", help="A program and its arguments; or one script."),
    ] = None,
    bot: Annotated[str | None, typer.Option(help="A bot that does it, instead of a command.")] = None,
    team: Annotated[str | None, typer.Option(help="A team, the same.")] = None,
    prompt: Annotated[str, typer.Option("--prompt", "-m", help="What they are to do.")] = "",
    agent: Annotated[
        str | None,
        typer.Option("--agent", "-a", help="Who does it, by name or id."),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", metavar="NAME=VALUE", help="For their programs.")
    ] = None,
    repo: Annotated[
        str | None, typer.Option("--repo", "-r", help="A repository: what changes there goes to a branch.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Where to begin there: a branch, a tag, a commit.")] = None,
    branch: Annotated[str | None, typer.Option("--branch", "-b", help="Where the changes go.")] = None,
    title: Annotated[str | None, typer.Option("--title", "-t", help="By default the command.")] = None,
    setup: Annotated[list[str] | None, typer.Option(help="A command to run before.")] = None,
    pull_request: Annotated[
        bool, typer.Option("--pull-request/--no-pull-request", help="Ask for one, where there is a forge.")
    ] = True,
    keep_commits: Annotated[
        bool, typer.Option("--keep-commits", help="Those made inside stay, instead of becoming one.")
    ] = False,
    template: Annotated[str, typer.Option(help="What the sandbox is made of.")] = "base",
    attach: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A file for its programs.", exists=True, dir_okay=False),
    ] = None,
    env: EnvOption = None,
    allow: AllowOption = None,
    public: PublicOption = False,
    timeout: Annotated[int, typer.Option(help="Seconds that it may take.")] = 3600,
    cron: CronOption = None,
    every: EveryOption = None,
    at: AtOption = None,
    timezone: ZoneOption = None,
    overlap: OverlapOption = None,
    misfire: MisfireOption = None,
    hook: HookOption = None,
    event: EventOption = None,
    only: OnlyOption = None,
    take: TakeOption = None,
    per_minute: PerMinuteOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the schedule or trigger; by default the title.")
    ] = None,
    project: ProjectOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for it.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a command in a sandbox, as a task; what it changes in a repository becomes a branch.

    With --cron, --every or --at it is run then, by a schedule; with --hook or --event whenever others tell
    something, by a trigger.
    """
    when = timing(cron, every, at, timezone) | given({"overlap": overlap, "misfire": misfire})
    scheduled = any(each is not None for each in (cron, every, at))
    told = rules(only, take, per_minute) | given({"verify": hook, "event": event})
    triggered = hook is not None or event is not None
    if not scheduled and when:
        raise fail("--timezone, --overlap and --misfire go with --cron, --every or --at", 2)
    if not triggered and told:
        raise fail("--only, --take and --per-minute go with --hook or --event", 2)
    if sum((scheduled, hook is not None, event is not None)) > 1:
        raise fail("say either when it is run, or --hook, or --event", 2)
    if name is not None and not scheduled and not triggered:
        raise fail("--name goes with a schedule or a trigger", 2)
    if sum(bool(each) for each in (command, bot, team, agent)) != 1:
        raise fail("say one of -- COMMAND, --bot, --team and --agent", 2)
    words = prompt or " ".join(command or ()) or f"{bot or team or agent}"
    body = {
        "title": title or plain(words.strip().split("\n")[0])[:_LONGEST_TITLE],
        "description": prompt,
        "exec": _shell(command, env),
        "bot": bot,
        "team": team,
        "parameters": pairs(parameter),
        "repository": repo,
        "base": base,
        "branch": branch,
        "setup": setup or [],
        "template": template,
        "network": network_of(allow, public=public),
        "timeout": timeout,
        "commits": "keep" if keep_commits else "squash",
        "pullRequest": None if pull_request else False,
    }
    with _open(url) as api:
        from signalbox_cli.triggers import TriggerApi

        if agent is not None:
            body["agentId"] = api.agent(agent, project)["id"]
        body["attachments"] = [api.attach(file, project)["id"] for file in attach or ()]
        if scheduled:
            _schedule(api, project, body, when, name, as_json=as_json)
            return
        if triggered:
            made = TriggerApi(api.http, project).create(name or body["title"], body, told)
            show_key(made, as_json=as_json)
            return
        task = api.create(body | {"projectId": project})
        if detach:
            print(json.dumps(task, indent=2) if as_json else task["id"])
            return
        follow(api, task, as_json=as_json)


def _schedule(
    api: "TaskApi",
    project: str | None,
    task: dict[str, Any],
    when: dict[str, Any],
    name: str | None,
    *,
    as_json: bool,
) -> None:
    from signalbox_cli.schedules import ScheduleApi, next_times

    made = ScheduleApi(api.http, project).create(task, when, name)
    print(json.dumps(made, indent=2) if as_json else "\n".join([made["id"], *next_times(made)]))


def _shell(command: list[str] | None, env: list[str] | None = None) -> dict[str, Any] | None:
    """One argument is a script, several are the words of a command."""
    if not command:
        return None
    what: dict[str, Any] = {"script": command[0]} if len(command) == 1 else {"argv": command}
    return what | {"env": pairs(env)}


@app.command("ls")
def list_(
    project: Annotated[str | None, typer.Option("--project", "-p", help="By default all of yours.")] = None,
    status: Annotated[str | None, typer.Option(help="Like running, failed.")] = None,
    search: Annotated[str | None, typer.Option("--search", "-q", help="Words of the title.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1)] = 50,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List tasks, newest first."""
    from itertools import islice

    with _open(url) as api:
        found = list(islice(api.every(project, status=status, q=search), limit))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table(box=None, header_style="dim")
    table.add_column("task", no_wrap=True, min_width=36)
    table.add_column("status", no_wrap=True)
    table.add_column("created", no_wrap=True)
    table.add_column("title", overflow="ellipsis", no_wrap=True, ratio=1)
    for each in found:
        code = (each["error"] or {}).get("code")
        status = f"{each['status']}: {code}" if code and code != each["status"] else each["status"]
        when = each["createdAt"][:19].replace("T", " ")
        table.add_row(each["id"], status, when, cell(each["title"]))
    console.print(table)


@app.command()
def get(task: TaskId, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show a task, its newest run and the steps of that."""
    from signalbox_cli.run_display import step_table

    with _open(url) as api:
        found = api.find(task)
        run = api.run(found["runId"])
        steps = api.steps(found["runId"])
    if as_json:
        print(json.dumps({"task": found, "run": run, "steps": steps}, indent=2))
        return
    console.print(f"{found['id']}  {found['status']}  {plain(found['title'])}", markup=False, soft_wrap=True)
    for each in found["attachments"]:
        about = f"attachment  {plain(each['name'])}  {each['size']} bytes"
        console.print(about, style="dim", markup=False, soft_wrap=True)
    console.print(step_table(steps))
    print_end(found, run)


@app.command()
def logs(
    task: TaskId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="To the end of its run.")] = False,
    url: UrlOption = None,
) -> None:
    """What the programs of its newest run have said."""
    with _open(url) as api:
        found = api.find(task)
        if not follow:
            for piece in api.log(found["runId"]):
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        for name, data in api.follow(found["runId"]):
            if name != "end":
                stream = sys.stderr if name == "stderr" else sys.stdout
                stream.write(data.get("text", ""))
                stream.flush()


@app.command()
def diff(task: TaskId, url: UrlOption = None) -> None:
    """What its newest run has changed."""
    from signalbox_cli.run_display import print_diff

    with _open(url) as api:
        text = api.changes(api.find(task)["runId"])
    if text is None:
        raise fail("its run has left no changes, or not yet")
    print_diff(text, console)


@app.command()
def cancel(task: TaskId, url: UrlOption = None) -> None:
    """Stop it; what it has changed until then is kept."""
    with _open(url) as api:
        print(api.do(api.find(task)["id"], "cancel")["status"])


@app.command()
def retry(
    task: TaskId,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for it.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do it once more, in a new sandbox, to the same branch."""
    with _open(url) as api:
        again = api.do(api.find(task)["id"], "retry")
        if detach:
            print(json.dumps(again, indent=2) if as_json else again["runId"])
            return
        follow(api, again, as_json=as_json)


@app.command("follow-up")
def follow_up(
    task: TaskId,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="What is wanted beyond.")],
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND…]", help="By default the same once more.")
    ] = None,
    env: EnvOption = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Do not wait for it.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go on from where it has come to, on its branch."""
    body = {"message": message, "exec": _shell(command, env)}
    with _open(url) as api:
        again = api.do(api.find(task)["id"], "follow-up", body)
        if detach:
            print(json.dumps(again, indent=2) if as_json else again["runId"])
            return
        follow(api, again, as_json=as_json)


@app.command()
def answer(
    task: TaskId,
    approve: Annotated[bool, typer.Option("--approve/--refuse", help="Whether it goes on.")],
    message: Annotated[str, typer.Option("--message", "-m", help="For whoever goes on.")] = "",
    url: UrlOption = None,
) -> None:
    """Say to a run that waits for a person whether it goes on."""
    with _open(url) as api:
        print(api.answer(api.find(task)["runId"], {"approve": approve, "message": message})["status"])


@app.command()
def deliver(
    task: TaskId,
    allow_findings: Annotated[
        bool, typer.Option("--allow-findings", help="Whatever was found in it; for maintainers.")
    ] = False,
    squash: Annotated[bool, typer.Option("--squash", help="One commit of those that were to stay.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deliver what its newest run has left once more, without running anything."""
    body = {"findings": "allow"} if allow_findings else {}
    if squash:
        body["commits"] = "squash"
    with _open(url) as api:
        found = api.find(task)
        api.deliver(found["runId"], body)
        follow(api, api.get(found["id"]), as_json=as_json)
