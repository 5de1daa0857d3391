"""`signalbox users`: ls, invite, invitations, revoke, reset-password."""

import json
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from signalbox_cli.commands.common import JsonOption, UrlOption, cell, console, speaking_http

app = typer.Typer(help="People, invitations, and passwords that were forgotten.", no_args_is_help=True)

IntoOption = Annotated[
    str | None,
    typer.Option("--project", "-p", help="The id of a project of yours, which they become members of."),
]
MailOption = Annotated[bool, typer.Option("--mail", help="Also send a link by mail.")]


@app.command("ls")
def list_(
    search: Annotated[str | None, typer.Argument(help="A part of a name or an address.")] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """List people and service accounts; for administrators."""
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.users import UserApi

        with open_client(find_url(url)) as http:
            found = list(UserApi(http).every(search))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    columns = (Column("user", no_wrap=True), Column("e-mail", overflow="fold"), "role", "since")
    table = Table(*columns, box=None, header_style="dim")
    for each in found:
        role = each["role"] if each["active"] else "deactivated"
        sure = "" if each["emailConfirmed"] or not each["email"] else " (not confirmed)"
        table.add_row(
            cell(each["username"]), cell(f"{each['email'] or ''}{sure}"), role, each["createdAt"][:10]
        )
    console.print(table)


@app.command()
def invite(
    email: Annotated[str | None, typer.Option("--email", help="For whoever registers with it alone.")] = None,
    project: IntoOption = None,
    role: Annotated[str | None, typer.Option("--role", help="In that project; developer by default.")] = None,
    days: Annotated[int, typer.Option("--days", help="Until the link ends.")] = 7,
    mail: MailOption = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a link that somebody registers with, once: for administrators, and owners of a project."""
    wanted: dict[str, Any] = {"email": email, "days": days, "mail": mail}
    if role is not None:
        wanted["role"] = role
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.users import UserApi

        with open_client(find_url(url)) as http:
            made = UserApi(http, project).invite(wanted)
    _show_link(made, f"good once, until {made['expiresAt'][:16].replace('T', ' ')}", as_json=as_json)


@app.command()
def invitations(project: IntoOption = None, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List the invitations of the installation, or of a project."""
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.users import UserApi

        with open_client(find_url(url)) as http:
            found = list(UserApi(http, project).invitations())
    if as_json:
        print(json.dumps(found, indent=2))
        return
    columns = (Column("invitation", no_wrap=True), "for", "into", Column("status", no_wrap=True), "until")
    table = Table(*columns, box=None, header_style="dim")
    for each in found:
        into = f"{each['projectId']} as {each['role']}" if each["projectId"] else ""
        table.add_row(
            each["id"], cell(each["email"] or "anybody"), into, each["status"], each["expiresAt"][:10]
        )
    console.print(table)


@app.command()
def revoke(
    invitation: Annotated[str, typer.Argument(help="The id of an invitation.")],
    project: IntoOption = None,
    url: UrlOption = None,
) -> None:
    """Take an invitation back."""
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.users import UserApi

        with open_client(find_url(url)) as http:
            UserApi(http, project).revoke(invitation)
    console.print("the invitation is not good any more")


@app.command("reset-password")
def reset_password(
    username: Annotated[str, typer.Argument(help="Whose password was forgotten.")],
    mail: MailOption = False,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a link with which somebody chooses a new password, once; for administrators."""
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.users import UserApi

        with open_client(find_url(url)) as http:
            made = UserApi(http).reset_password(username, mail=mail)
    _show_link(made, f"for {made['username']}, good once, within a day", as_json=as_json)


def _show_link(made: dict[str, Any], how: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(made, indent=2))
        return
    console.print(made["link"], markup=False, soft_wrap=True)
    mailed = "; another one is mailed" if made["mailed"] else ""
    console.print(f"{how}{mailed}", style="dim", markup=False, soft_wrap=True)
