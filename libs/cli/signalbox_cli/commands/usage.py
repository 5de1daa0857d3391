"""`signalbox usage` and `signalbox quotas`: what a project has taken, and what it may have."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from signalbox_cli.commands.common import (
    JsonOption,
    ProjectOption,
    UrlOption,
    cell,
    console,
    fail,
    speaking_http,
)

if TYPE_CHECKING:
    from signalbox_cli.usage import UsageApi

app = typer.Typer(help="What a project may have and use.", no_args_is_help=True)

_GROUPS = {"day": "day", "agent": "agentId", "model": "model", "person": "userId"}
_FIGURES = {
    "runs": "runs",
    "succeeded": "succeeded",
    "failed": "failed",
    "runSeconds": "seconds",
    "inputTokens": "in",
    "outputTokens": "out",
    "cost": "cost",
}
"""What fits beside each other; files have all."""
QUOTAS = {
    "liveSandboxes": "sandboxes that live",
    "queuedTasks": "tasks that wait",
    "runningTasks": "tasks that run",
    "storageBytes": "bytes that are kept",
    "tokensPerMonth": "tokens a month",
    "costPerMonth": "cost a month",
    "resources": "resources of the catalog",
    "catalogBytes": "bytes of these and their history",
    "packageBytes": "bytes of packages of skills",
    "apiTokens": "tokens of service accounts",
}
_NONE, _DEFAULT = "none", "default"

Bound = Annotated[str | None, typer.Option(metavar="NUMBER|none|default")]


@contextmanager
def _open(url: str | None, project: str | None) -> "Iterator[UsageApi]":
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.usage import UsageApi

        with open_client(find_url(url)) as http:
            yield UsageApi(http, project)


def usage(
    by: Annotated[
        str, typer.Option("--by", help="Any of day, agent, model, person, by commas; '' for the sum.")
    ] = "day",
    since: Annotated[str | None, typer.Option("--from", help="A day; by default 30 days ago.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="The last day; by default today.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="For spreadsheets.")] = False,
    as_lines: Annotated[bool, typer.Option("--jsonl", help="For scripts: a line for each row.")] = False,
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Show what runs have come to and taken: how many, seconds, tokens in and out, cost."""
    if as_csv and as_lines:
        raise fail("say one of --csv and --jsonl", 2)
    params = {"by": by, "from": since, "to": until}
    with _open(url, project) as api:
        if as_csv or as_lines:
            for text in api.lines(**params, format="csv" if as_csv else "jsonl"):
                print(text, end="")
            return
        rows = list(api.usage(**params))
    groups = [name for name in _GROUPS if name in {each.strip() for each in by.split(",")}]
    table = Table(*groups, *_FIGURES.values(), box=None, header_style="dim")
    for row in rows:
        named = (cell(str(row[_GROUPS[group]] or "-")) for group in groups)
        table.add_row(*named, *(_shown(row[name]) for name in _FIGURES))
    console.print(table)


def _shown(figure: float) -> str:
    return f"{figure:,.1f}" if isinstance(figure, float) else f"{figure:,}"


@app.command()
def get(project: ProjectOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show them; for owners of the project, and administrators."""
    with _open(url, project) as api:
        _show(api.quotas(), as_json=as_json)


@app.command("set")
def set_(
    live_sandboxes: Bound = None,
    queued_tasks: Bound = None,
    running_tasks: Bound = None,
    storage_bytes: Bound = None,
    tokens_per_month: Bound = None,
    cost_per_month: Bound = None,
    resources: Bound = None,
    catalog_bytes: Bound = None,
    package_bytes: Bound = None,
    api_tokens: Bound = None,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change those that are named, for administrators. `none` is no bound, `default` the installation's."""
    given = (
        live_sandboxes,
        queued_tasks,
        running_tasks,
        storage_bytes,
        tokens_per_month,
        cost_per_month,
        resources,
        catalog_bytes,
        package_bytes,
        api_tokens,
    )
    changes = {
        name: _bound(name, value) for name, value in zip(QUOTAS, given, strict=True) if value is not None
    }
    if not changes:
        raise fail("say at least one of them", 2)
    with _open(url, project) as api:
        known = api.quotas()
        limits = {name: known["limits"][name] for name in known["given"]} | changes
        kept = {name: value for name, value in limits.items() if value != _DEFAULT}
        _show(api.set_quotas(kept), as_json=as_json)


def _bound(name: str, value: str) -> Any:
    if value in (_NONE, _DEFAULT):
        return None if value == _NONE else value
    try:
        return float(value) if name == "costPerMonth" else int(value)
    except ValueError:
        raise fail(f"{value!r} is neither a number nor `{_NONE}` nor `{_DEFAULT}`", 2) from None


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("quota", "", "bound", "", box=None, header_style="dim")
    for name, words in QUOTAS.items():
        bound = found["limits"][name]
        shown = "none" if bound is None else _shown(bound)
        table.add_row(name, words, shown, "" if name in found["given"] else "default")
    console.print(table)
