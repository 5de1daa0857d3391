"""`signalbox pr`: ls, show, open, edit, close; and `signalbox credential`: add, ls, repos, rm."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from signalbox_cli.commands.common import JsonOption, UrlOption, cell, console, fail, speaking_http

if TYPE_CHECKING:
    from signalbox_cli.pull_requests import PullRequestApi
    from signalbox_cli.repositories import RepositoryApi

app = typer.Typer(help="Pull requests at the forges of repositories.", no_args_is_help=True)
credentials = typer.Typer(
    help="What a project is shown to a whole host as, for repositories that have no credential of their own.",
    no_args_is_help=True,
)

ProjectOption = Annotated[
    str | None, typer.Option("--project", "-p", help="The id of a project; by default your personal one.")
]
Repo = Annotated[str, typer.Argument(metavar="REPO", help="Its name, or how its id begins.")]
Number = Annotated[int, typer.Argument(min=1, help="As its forge counts.")]
Host = Annotated[str, typer.Argument(help="github.com, or forge.example:3000.")]
_STDIN = "-"


@contextmanager
def _open(url: str | None, project: str | None = None) -> "Iterator[tuple[PullRequestApi, RepositoryApi]]":
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.pull_requests import PullRequestApi
        from signalbox_cli.repositories import RepositoryApi

        with open_client(find_url(url)) as http:
            yield PullRequestApi(http, project), RepositoryApi(http, project)


@app.command("ls")
def list_(
    repo: Annotated[str | None, typer.Argument(metavar="REPO", help="By default all.")] = None,
    state: Annotated[str | None, typer.Option(help="open, draft, merged or closed.")] = None,
    project: Annotated[str | None, typer.Option("--project", "-p", help="By default all.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List pull requests, newest first."""
    with _open(url, project) as (api, repositories):
        names = {each["id"]: each["name"] for each in repositories.every()}
        wanted = repositories.find(repo)["id"] if repo is not None else None
        found = list(api.every(wanted, state))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("repo", "no", "state", "from", "into", "title", "address", box=None, header_style="dim")
    for each in found:
        name = names.get(each["repositoryId"], each["repositoryId"])
        number = str(each["number"])
        words = (cell(each[field]) for field in ("head", "base", "title", "url"))
        table.add_row(name, number, each["state"], *words)
    console.print(table)


@app.command()
def show(repo: Repo, number: Number, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Show one as it is at its forge now."""
    with _open(url) as (api, repositories):
        found = api.refresh(api.find(repositories.find(repo)["id"], number)["id"])
    _print(found, as_json=as_json)


@app.command("open")
def open_(
    repo: Repo,
    head: Annotated[str, typer.Argument(help="A branch that is at the remote.")],
    title: Annotated[str, typer.Option("--title", "-t")],
    base: Annotated[str | None, typer.Option(help="By default the default branch.")] = None,
    body: Annotated[str, typer.Option("--body", "-b")] = "",
    draft: Annotated[bool, typer.Option("--draft")] = False,
    label: Annotated[list[str] | None, typer.Option(help="As often as you like.")] = None,
    reviewer: Annotated[list[str] | None, typer.Option(help="As often as you like.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Open one, or find the one that is open for these branches."""
    with _open(url) as (api, repositories):
        found = repositories.find(repo)
        into = base or found["defaultBranch"]
        if into is None:
            raise fail("nobody knows its default branch yet: say --base")
        said: dict[str, Any] = {"head": head, "base": into, "title": title, "body": body, "draft": draft}
        made = api.open(found["id"], said | {"labels": label or [], "reviewers": reviewer or []})
    _print(made, as_json=as_json)


@app.command()
def edit(
    repo: Repo,
    number: Number,
    title: Annotated[str | None, typer.Option("--title", "-t")] = None,
    body: Annotated[str | None, typer.Option("--body", "-b")] = None,
    label: Annotated[list[str] | None, typer.Option(help="One that it gets.")] = None,
    reviewer: Annotated[list[str] | None, typer.Option(help="Somebody who is to look at it.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what it says."""
    said = {"title": title, "body": body, "labels": label, "reviewers": reviewer}
    with _open(url) as (api, repositories):
        found = api.find(repositories.find(repo)["id"], number)
        changed = api.change(found["id"], {name: value for name, value in said.items() if value is not None})
    _print(changed, as_json=as_json)


@app.command()
def close(repo: Repo, number: Number, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Close one without merging it; its branch stays."""
    with _open(url) as (api, repositories):
        found = api.close(api.find(repositories.find(repo)["id"], number)["id"])
    _print(found, as_json=as_json)


@credentials.command("add")
def add_credential(
    host: Host,
    token_file: Annotated[str, typer.Option(help="Holds the token; - is standard input.")],
    forge: Annotated[str | None, typer.Option(help="github, gitea or git.")] = None,
    api_url: Annotated[str | None, typer.Option(help="Where its API is, if not where it should be.")] = None,
    user: Annotated[str | None, typer.Option(help="Whose token it is, where that matters.")] = None,
    project: ProjectOption = None,
    url: UrlOption = None,
) -> None:
    """Keep a token for all repositories at a host."""
    try:
        text = sys.stdin.read() if token_file == _STDIN else Path(token_file).read_text(encoding="utf-8")
    except OSError as error:
        raise fail(f"{error.filename} cannot be read: {error.strerror}") from error
    said = {"host": host, "forge": forge, "apiUrl": api_url, "username": user, "token": text.strip()}
    with _open(url, project) as (api, _):
        made = api.add_credential({name: value for name, value in said.items() if value is not None})
    console.print(f"repositories at {made['host']} are reached with it")


@credentials.command("ls")
def list_credentials(
    project: ProjectOption = None, url: UrlOption = None, as_json: JsonOption = False
) -> None:
    """List them by host; what they are is not shown."""
    with _open(url, project) as (api, _):
        found = api.credentials()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("host", "forge", "user", "from", box=None, header_style="dim")
    for each in found:
        origin = "the environment" if each["createdBy"] is None else each["createdBy"]
        table.add_row(each["host"], each["forge"], each["username"] or "", origin)
    console.print(table)


@credentials.command("repos")
def list_visible(
    host: Host,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=1000)] = 200,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what the forge shows to whoever has it."""
    with _open(url, project) as (api, _):
        found = api.visible(api.credential(host)["id"], limit)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("name", "branch", "visibility", "address", box=None, header_style="dim")
    for each in found:
        branch = cell(each["defaultBranch"] or "")
        table.add_row(cell(each["name"]), branch, each["visibility"], cell(each["url"]))
    console.print(table)


@credentials.command("rm")
def remove_credential(host: Host, project: ProjectOption = None, url: UrlOption = None) -> None:
    """Forget one here; the token itself stays good where it was made."""
    with _open(url, project) as (api, _):
        found = api.credential(host)
        api.remove_credential(found["id"])
    console.print(f"the credential for {found['host']} is forgotten")


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table(box=None, show_header=False)
    table.add_row("title", cell(found["title"]))
    table.add_row("state", found["state"])
    table.add_row("from", cell(f"{found['head']} at {found['commit'][:10]}"))
    table.add_row("into", cell(found["base"]))
    table.add_row("address", cell(found["url"]))
    console.print(table)
