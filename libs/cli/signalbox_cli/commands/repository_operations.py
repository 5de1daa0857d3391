"""`signalbox repo`: fetch, branch, tag, merge, revert, cherry-pick, cleanup, operations."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from signalbox_cli.commands.common import JsonOption, UrlOption, cell, console, fail, speaking_http
from signalbox_cli.commands.repositories import Name

if TYPE_CHECKING:
    from signalbox_cli.repository_operations import RepositoryOperationApi

app = typer.Typer()
"""Commands of `repo`."""

Branch = Annotated[str, typer.Argument(metavar="BRANCH", help="The branch that is changed.")]
Protected = Annotated[
    bool, typer.Option("--protected", help="Also where the branch is protected; for maintainers.")
]
Message = Annotated[str | None, typer.Option("--message", "-m")]
Mainline = Annotated[
    int | None, typer.Option("--mainline", help="Of a merge, the parent that counts: 1, 2, …", min=1)
]
Start = Annotated[str | None, typer.Argument(help="By default the default branch.")]


@app.command()
def branch(
    repository: Name,
    name: Annotated[str, typer.Argument(metavar="BRANCH")],
    revision: Start = None,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Delete it instead.")] = False,
    protected: Protected = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a branch at the remote, or delete one."""
    action: dict[str, Any] = {"type": "delete-branch" if delete else "branch", "name": name}
    if not delete:
        action["revision"] = revision
    _done(repository, action | _allowing(protected), url, as_json=as_json)


@app.command()
def tag(
    repository: Name,
    name: Annotated[str, typer.Argument(metavar="TAG")],
    revision: Start = None,
    message: Message = None,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Delete it instead.")] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a tag at the remote, with a message an annotated one; or delete one."""
    if delete:
        _done(repository, {"type": "delete-tag", "name": name}, url, as_json=as_json)
        return
    action = {"type": "tag", "name": name, "revision": revision, "message": message}
    _done(repository, action, url, as_json=as_json, signed=message is not None)


@app.command()
def merge(
    repository: Name,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A branch, a tag or a commit.")],
    into: Annotated[str, typer.Argument(metavar="BRANCH", help="What it is merged into.")],
    fast_forward: Annotated[str, typer.Option("--fast-forward", help="allow, never or only.")] = "allow",
    message: Message = None,
    protected: Protected = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Merge one branch into another at the remote."""
    action = {
        "type": "merge",
        "branch": into,
        "source": source,
        "fastForward": fast_forward,
        "message": message,
    }
    _done(repository, action | _allowing(protected), url, as_json=as_json, signed=True)


@app.command()
def revert(
    repository: Name,
    commit: Annotated[str, typer.Argument(metavar="COMMIT")],
    on: Branch,
    mainline: Mainline = None,
    message: Message = None,
    protected: Protected = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back on a branch what a commit did."""
    action = {"type": "revert", "branch": on, "commit": commit, "mainline": mainline, "message": message}
    _done(repository, action | _allowing(protected), url, as_json=as_json, signed=True)


@app.command("cherry-pick")
def cherry_pick(
    repository: Name,
    commit: Annotated[str, typer.Argument(metavar="COMMIT")],
    onto: Branch,
    mainline: Mainline = None,
    message: Message = None,
    protected: Protected = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do on a branch what a commit did elsewhere."""
    action = {
        "type": "cherry-pick",
        "branch": onto,
        "commit": commit,
        "mainline": mainline,
        "message": message,
    }
    _done(repository, action | _allowing(protected), url, as_json=as_json)


@app.command()
def fetch(repository: Name, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Fetch it now."""
    _done(repository, {"type": "fetch"}, url, as_json=as_json)


@app.command()
def cleanup(repository: Name, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Pack what is kept of it here, and remove what nobody needs."""
    _done(repository, {"type": "cleanup"}, url, as_json=as_json)


@app.command()
def operations(
    repository: Name,
    cancel: Annotated[str | None, typer.Option(metavar="ID", help="Cancel this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=200)] = 20,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was done to it, newest first; or cancel something."""
    with _open(url, repository) as api:
        found = [api.cancel(cancel)] if cancel is not None else api.newest(limit)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    whole = Column("id", no_wrap=True)  # it is what others are asked for with
    table = Table("operation", whole, "status", "commit", "when", "took", box=None, header_style="dim")
    for each in found:
        took = f"{each['durationMs'] / 1000:.1f} s" if each["durationMs"] is not None else ""
        when = each["createdAt"][:19].replace("T", " ")
        table.add_row(
            cell(_words(each)), each["id"], _status(each), (each["commitSha"] or "")[:10], when, took
        )
    console.print(table)


def _allowing(protected: bool) -> dict[str, str]:
    return {"protected": "allow"} if protected else {}


@contextmanager
def _open(url: str | None, repository: str) -> Iterator["RepositoryOperationApi"]:
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.repositories import RepositoryApi
        from signalbox_cli.repository_operations import RepositoryOperationApi

        with open_client(find_url(url)) as http:
            yield RepositoryOperationApi(http, RepositoryApi(http).find(repository)["id"])


def _done(
    repository: str, action: dict[str, Any], url: str | None, *, as_json: bool, signed: bool = False
) -> None:
    """Waits for its end; `signed` is what bears its author's name."""
    with _open(url, repository) as api:
        begun = api.begin(action | ({"author": api.author()} if signed else {}))
        if console.is_terminal and not as_json:
            with console.status(_words(begun)) as line:
                found = api.ended(begun, lambda each: line.update(f"{_words(each)}{_percent(each)}"))
        else:
            found = api.ended(begun, lambda _: None)
    if as_json:
        print(json.dumps(found, indent=2))
    if found["status"] != "succeeded":
        paths = "".join(f"\n  {path}" for path in (found["error"] or {}).get("paths", ()))
        raise fail(f"{_words(found)}: {found['errorMessage'] or found['status']}{paths}")
    if not as_json:
        console.print(f"{_words(found)}: {_outcome(found)}", markup=False)


def _outcome(found: dict[str, Any]) -> str:
    if found["freedBytes"] is not None:
        return f"{found['freedBytes']} bytes freed"
    if found["operationType"] == "fetch":
        return f"it is here as it was there at {found['endedAt'][:19].replace('T', ' ')}"
    if not found["changed"]:
        return "it was so before"
    return str(found["commitSha"] or "done")


def _words(found: dict[str, Any]) -> str:
    action = found["action"]
    about = action.get("name") or action.get("branch") or ""
    return f"{found['operationType']} {about}".rstrip()


def _status(found: dict[str, Any]) -> str:
    code = (found["error"] or {}).get("code")
    return f"{found['status']}: {code}" if code else str(found["status"])


def _percent(found: dict[str, Any]) -> str:
    progress = found["progress"]
    return f": {progress['phase']} {progress['percent']} %" if progress else ""
