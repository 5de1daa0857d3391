"""`signalbox repo`: add, ls, show, log, diff, branches, test, rm."""

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
    from signalbox_cli.repositories import RepositoryApi

app = typer.Typer(help="Repositories that agents work on.", no_args_is_help=True)

ProjectOption = Annotated[
    str | None, typer.Option("--project", "-p", help="The id of a project; by default your personal one.")
]
Name = Annotated[str, typer.Argument(metavar="REPO", help="Its name, or how its id begins.")]
_MIB = 1024 * 1024
_STDIN = "-"


@contextmanager
def _open(url: str | None, project: str | None = None) -> Iterator["RepositoryApi"]:
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.repositories import RepositoryApi

        with open_client(find_url(url)) as http:
            yield RepositoryApi(http, project)


@app.command()
def add(
    address: Annotated[
        str, typer.Argument(metavar="URL", help="https://…, ssh://…, user@host:path, or a path there.")
    ],
    name: Annotated[str | None, typer.Option(help="By default that of its address.")] = None,
    forge: Annotated[str | None, typer.Option(help="github, gitea or git.")] = None,
    api_url: Annotated[str | None, typer.Option(help="Where its forge's API is, if not at its host.")] = None,
    branch: Annotated[str | None, typer.Option("--default-branch", help="By default the remote's.")] = None,
    token_file: Annotated[
        str | None, typer.Option(help="Holds a token; - is standard input. Tokens are no arguments.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Whose token it is, where that matters.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Holds a private key for ssh.")] = None,
    setup: Annotated[list[str] | None, typer.Option(help="A command that runs begin with.")] = None,
    project: ProjectOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add a repository, and wait until it has been fetched."""
    said: dict[str, Any] = {"url": address, "name": name, "forge": forge, "defaultBranch": branch}
    said["apiUrl"] = api_url
    body = {key: value for key, value in said.items() if value is not None} | {"setup": setup or []}
    if (credential := _credential(token_file, user, key_file)) is not None:
        body["credential"] = credential
    with _open(url, project) as api:
        found = api.fetched(api.add(body))
    _print(found, as_json=as_json)
    if found["status"] == "failed":
        raise fail(f"it cannot be fetched: {found['detail']}")


@app.command("ls")
def list_(project: ProjectOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List repositories."""
    with _open(url, project) as api:
        found = list(api.every())
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("name", "id", "branch", "status", "fetched", "address", box=None, header_style="dim")
    for each in found:
        status = each["status"] if not each["reason"] else f"{each['status']}: {each['reason']}"
        at = _moment(each["fetchedAt"])
        table.add_row(
            each["name"], each["id"], cell(each["defaultBranch"] or ""), cell(status), at, cell(each["url"])
        )
    console.print(table)


@app.command()
def show(
    name: Name,
    revision: Annotated[
        str | None,
        typer.Argument(help="A commit by branch, tag or id; with :PATH a file, or what lies in a folder."),
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a repository, a commit of it, or what lies in one."""
    with _open(url) as api:
        found = api.find(name)
        if revision is None:
            _print(found, as_json=as_json)
            return
        at, colon, path = revision.partition(":")
        if not colon:
            commit = api.ask(found["id"], "commit", ref=at)
            print(json.dumps(commit, indent=2) if as_json else _told(commit))
            return
        _show_path(api, found["id"], at or None, path.strip("/"), as_json=as_json)


def _show_path(api: "RepositoryApi", repository: str, ref: str | None, path: str, *, as_json: bool) -> None:
    from signalbox_common.errors import SignalboxError

    try:
        tree = api.ask(repository, "tree", ref=ref, path=path or None)
    except SignalboxError as error:
        if error.code != "path_not_found":
            raise
        sys.stdout.buffer.write(api.content(repository, "file", ref=ref, path=path))
        sys.stdout.buffer.flush()
        return
    if as_json:
        print(json.dumps(tree, indent=2))
        return
    for entry in tree["items"]:
        print(entry["path"] + ("/" if entry["type"] == "folder" else ""))


@app.command()
def log(
    name: Name,
    revision: Annotated[str | None, typer.Argument(help="By default the default branch.")] = None,
    path: Annotated[str | None, typer.Option(help="Only what has changed this.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=200)] = 20,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List commits, newest first."""
    with _open(url) as api:
        page = api.ask(api.find(name)["id"], "commits", ref=revision, path=path, limit=limit)
    if as_json:
        print(json.dumps(page["items"], indent=2))
        return
    table = Table("commit", "when", "author", "subject", box=None, header_style="dim")
    for each in page["items"]:
        author = each["author"]
        table.add_row(each["id"][:10], _moment(author["at"]), cell(author["name"]), cell(each["subject"]))
    console.print(table)


@app.command()
def diff(
    name: Name,
    one: Annotated[str | None, typer.Argument(help="A commit; with two, where to begin.")] = None,
    other: Annotated[str | None, typer.Argument(help="Shown as far as it goes beyond the first.")] = None,
    path: Annotated[str | None, typer.Option(help="Only of this.")] = None,
    url: UrlOption = None,
) -> None:
    """Show what a commit has changed, or what a branch has beyond another."""
    base, head = (one, other) if other is not None else (None, one)
    with _open(url) as api:
        found = api.content(api.find(name)["id"], "diff", base=base, head=head, path=path)
    sys.stdout.buffer.write(found)
    sys.stdout.buffer.flush()


@app.command()
def branches(name: Name, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List branches."""
    with _open(url) as api:
        page = api.ask(api.find(name)["id"], "branches", limit=200)
    if as_json:
        print(json.dumps(page["items"], indent=2))
        return
    table = Table("branch", "commit", "when", "subject", box=None, header_style="dim")
    for each in page["items"]:
        mark = "* " if each["isDefault"] else "  "
        at = _moment(each["committedAt"])
        table.add_row(cell(mark + each["name"]), each["commit"][:10], at, cell(each["subject"]))
    console.print(table)


@app.command("test")
def ask(name: Name, url: UrlOption = None) -> None:
    """Ask the remote now, and say what is wrong."""
    with _open(url) as api:
        said = api.test(api.find(name)["id"])
    if not said["ok"]:
        raise fail(f"{said['reason']}: {said['detail']}")
    console.print(f"it answers: {said['branches']} branches, {said['defaultBranch']} is the first")


@app.command()
def rm(name: Name, url: UrlOption = None) -> None:
    """Forget a repository here; the remote stays as it is."""
    with _open(url) as api:
        found = api.find(name)
        api.delete(found["id"])
    console.print(f"{found['name']} is forgotten")


def _credential(token_file: str | None, user: str | None, key_file: Path | None) -> dict[str, str] | None:
    """Of a repository over ssh, the token is for its forge."""
    found = {}
    try:
        if key_file is not None:
            found["privateKey"] = key_file.read_text(encoding="utf-8")
        if token_file is not None:
            text = sys.stdin.read() if token_file == _STDIN else Path(token_file).read_text(encoding="utf-8")
            found |= {"token": text.strip()} | ({"username": user} if user else {})
    except OSError as error:
        raise fail(f"{error.filename} cannot be read: {error.strerror}") from error
    return found or None


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2))
        return
    size = f"{found['sizeBytes'] / _MIB:.1f} MiB here" if found["sizeBytes"] is not None else "not here yet"
    lines = {
        "name": found["name"],
        "id": found["id"],
        "address": found["url"],
        "forge": found["forge"],
        "default branch": found["defaultBranch"] or "",
        "credential": "yes" if found["hasCredential"] else "no",
        "status": found["status"] + (f": {found['detail']}" if found["detail"] else ""),
        "fetched": f"{_moment(found['fetchedAt'])}, {size}",
    }
    table = Table(box=None, show_header=False)
    for name, value in lines.items():
        table.add_row(name, cell(value))
    console.print(table)


def _told(shown: dict[str, Any]) -> str:
    commit = shown["commit"]
    lines = [
        f"commit {commit['id']}",
        f"Author: {commit['author']['name']} <{commit['author']['email']}>",
        f"Date:   {_moment(commit['author']['at'])}",
        "",
        *(f"    {line}" for line in (commit["subject"], "", *commit["body"].splitlines())),
        "",
        *(f"{each['status']} {each['path']}" for each in shown["files"]),
    ]
    return "\n".join(lines)


def _moment(text: str | None) -> str:
    return (text or "")[:19].replace("T", " ")
