"""`signalbox login`, `logout` and `whoami`."""

import json
import os
import sys
from typing import Annotated

import typer
from rich.markup import escape

from signalbox_cli.commands.common import JsonOption, UrlOption, console, errors, fail, speaking_http


def login(
    url: UrlOption = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only show the address.")] = False,
) -> None:
    """Log in by approving a code in a browser, on this machine or on another one."""
    from signalbox_cli import client, device
    from signalbox_cli.session import Sessions
    from signalbox_common.contracts.auth import User

    with speaking_http():
        address = client.find_url(url)
        sessions = Sessions()
        sessions.check()
        try:
            with client.Client(address) as http:
                started = device.start(http)
                _show(started.verification_uri, started.user_code)
                if not no_browser and _has_browser():
                    _open(started.verification_uri_complete)
                with errors.status("waiting for the approval; Ctrl-C gives up"):
                    session = device.wait(http, started)
        except KeyboardInterrupt:
            raise fail("given up: nobody was logged in", 130) from None
        sessions.put(address, session)
        with client.open_session(address, sessions) as http:
            user = User.model_validate_json(http.get("/api/v1/auth/me").content)
        console.print(f"logged in at {address} as [bold]{escape(user.username)}[/]", soft_wrap=True)
        if client.api_token():
            errors.print(f"{client.TOKEN} is set, and used instead of this session", style="yellow")


def _show(page: str, code: str) -> None:
    console.print(f"open     {escape(page)}", soft_wrap=True)
    console.print(f"approve  [bold]{escape(code)}[/]", soft_wrap=True)


def _has_browser() -> bool:
    """Whether somebody sits before a screen where a browser can open."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _open(page: str) -> None:
    import webbrowser

    if page.startswith(("http://", "https://")):  # a browser would open files and programs, too
        webbrowser.open(page)


def logout(url: UrlOption = None) -> None:
    """End the session, on the server and here."""
    from signalbox_cli.client import find_url, open_session
    from signalbox_cli.session import NotLoggedIn, Sessions

    with speaking_http():
        address = find_url(url)
        sessions = Sessions()
        try:
            with open_session(address, sessions) as http:
                http.post("/api/v1/auth/logout")
        except NotLoggedIn:
            console.print(f"nobody was logged in at {address}", soft_wrap=True)
        else:
            console.print(f"logged out of {address}", soft_wrap=True)
        sessions.forget(address)


def whoami(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Whom commands speak for."""
    from signalbox_cli.client import find_url, open_client
    from signalbox_common.contracts.auth import User

    with speaking_http():
        address = find_url(url)
        with open_client(address) as http:
            answer = http.get("/api/v1/auth/me")
        user = User.model_validate_json(answer.content)
    if as_json:
        print(json.dumps(answer.json(), indent=2))
        return
    mail = f" <{user.email}>" if user.email else ""
    console.print(
        f"[bold]{escape(user.username)}[/]{escape(mail)}, {user.role}, at {address}", soft_wrap=True
    )
