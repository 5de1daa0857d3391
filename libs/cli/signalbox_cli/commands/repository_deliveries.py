"""`signalbox repo`: deliveries, policy."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from signalbox_cli.commands.common import JsonOption, UrlOption, cell, console, fail, speaking_http
from signalbox_cli.commands.repositories import Name

if TYPE_CHECKING:
    from signalbox_cli.repositories import RepositoryApi

app = typer.Typer()
"""Commands of `repo`."""

_STDIN = "-"


@app.command()
def deliveries(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=200)] = 20,
    diff: Annotated[str | None, typer.Option(metavar="ID", help="What that one changes.")] = None,
    retry: Annotated[str | None, typer.Option(metavar="ID", help="That one once more.")] = None,
    allow_findings: Annotated[
        bool, typer.Option("--allow-findings", help="With what was found; for maintainers.")
    ] = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was delivered, and why it was not."""
    with _open(url) as api:
        if diff is not None:
            sys.stdout.buffer.write(api.http.get(f"/api/v1/deliveries/{diff}/diff").content)
            sys.stdout.buffer.flush()
            return
        if retry is not None:
            body = {"findings": "allow"} if allow_findings else {}
            from signalbox_cli.catalog.operations import wait_for

            answer = api.http.post(f"/api/v1/deliveries/{retry}/retry", json=body)
            later = wait_for(api.http, answer)
            print("it is tried again" if later else f"it is tried again as {answer.json()['delivery']}")
            return
        found = api.ask(api.find(name)["id"], "deliveries", limit=limit)["items"]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("when", "id", "state", "branch", "commit", "title", box=None, header_style="dim")
    for each in found:
        error = each["error"]
        state = f"{each['state']}: {error['code']}" if error else each["state"]
        when = each["createdAt"][:19].replace("T", " ")
        words = (cell(each["branch"] or ""), (each["commit"] or "")[:10], cell(each["title"] or ""))
        table.add_row(when, each["delivery"], state, *words)
    console.print(table)


@app.command()
def policy(
    name: Name,
    findings: Annotated[str | None, typer.Option(help="refuse or warn.")] = None,
    largest_file: Annotated[int | None, typer.Option(help="MiB.", min=1, max=100)] = None,
    sign_off: Annotated[bool | None, typer.Option("--sign-off/--no-sign-off")] = None,
    template_file: Annotated[
        str | None, typer.Option(help="Holds the template of messages; - is standard input.")
    ] = None,
    signing_key_file: Annotated[
        Path | None, typer.Option(help="Holds the ed25519 key that commits are signed with.")
    ] = None,
    remove_signing_key: Annotated[bool, typer.Option("--remove-signing-key")] = False,
    url: UrlOption = None,
) -> None:
    """Show what counts for deliveries to a repository, or change it."""
    said: dict[str, Any] = {"findings": findings, "largestFile": largest_file, "signOff": sign_off}
    said["commitTemplate"] = _read(template_file) if template_file is not None else None
    named = {word: value for word, value in said.items() if value is not None}
    with _open(url) as api:
        found = api.find(name)
        body: dict[str, Any] = {"policy": found["policy"] | named} if named else {}
        if signing_key_file is not None:
            body["signingKey"] = _read(str(signing_key_file))
        if remove_signing_key:
            body["removeSigningKey"] = True
        if body:
            found = api.http.patch(f"/api/v1/repositories/{found['id']}", json=body).json()
    print(json.dumps(found["policy"] | {"signedBy": found["signedBy"]}, indent=2, ensure_ascii=False))


@contextmanager
def _open(url: str | None) -> Iterator["RepositoryApi"]:
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.repositories import RepositoryApi

        with open_client(find_url(url)) as http:
            yield RepositoryApi(http)


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == _STDIN else Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise fail(f"{error.filename} cannot be read: {error.strerror}") from error
