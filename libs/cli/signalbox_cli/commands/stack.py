"""`signalbox up`, `down` and `status`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from signalbox_cli.commands.common import HomeOption, JsonOption, console, errors, fail
from signalbox_cli.stack import leftovers, sandboxes
from signalbox_cli.stack.home import AlreadyRunning, Home

if TYPE_CHECKING:
    from signalbox_cli.stack.supervisor import Supervisor

DETACH_PATIENCE = 90.0
DOWN_PATIENCE = 60.0
KILL_PATIENCE = 5.0
DETACHED = "SIGNALBOX_DETACHED"


def up(
    home: HomeOption = None,
    port: Annotated[
        int, typer.Option(envvar="SIGNALBOX_PORT", help="0 takes a free one, until `down`.")
    ] = 8000,
    host: Annotated[str, typer.Option(envvar="SIGNALBOX_HOST")] = "127.0.0.1",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when all is ready.")] = False,
) -> None:
    """Start PostgreSQL, Valkey, NATS and the six services; Ctrl-C stops them cleanly."""
    from signalbox_cli.stack.supervisor import StartFailed, Supervisor

    place = Home.find(home)
    place.make()
    if detach:
        _detach(place, host, port)
        return
    os.umask(0o077)
    try:
        with place.lock():

            async def run() -> None:
                shown = DETACHED not in os.environ  # nobody looks, and every program has its own file
                await Supervisor(place, host=host, port=port, console=console, show=shown).run(
                    on_ready=_announce
                )

            asyncio.run(run())
    except AlreadyRunning:
        state = place.read_state() or {}
        raise fail(
            f"already running at {state.get('url')} ({place.path}); `signalbox down` stops it"
        ) from None
    except StartFailed as error:
        raise fail(str(error)) from None
    console.print("stopped; the data is kept", style="dim")


def _already_running(place: Home) -> typer.Exit:
    url = (place.read_state() or {}).get("url")
    return fail(f"already running at {url} ({place.path}); `signalbox down` stops it")


def _announce(supervisor: "Supervisor") -> None:
    secret = supervisor.home.admin_password_file
    # A password is for the eyes of whoever sits there, not for a file that keeps what we print.
    password = secret.read_text(encoding="utf-8") if console.is_terminal else f"(in {secret})"
    console.print(
        f"\n[bold green]Signalbox is up[/] after {supervisor.seconds:.1f} s: [bold]{supervisor.url}[/]\n"
        f"  first admin   admin / {password}\n"
        f"  API           {supervisor.url}/docs\n"
        "  try next      signalbox demo   signalbox status   signalbox dlq list\n"
        "  stop          Ctrl-C, or `signalbox down`\n",
        soft_wrap=True,
    )


def _detach(place: Home, host: str, port: int) -> None:
    """Starts a supervisor of its own and waits until all is ready."""
    if place.is_locked():
        raise _already_running(place)
    log = place.logs / "supervisor.log"
    os.umask(0o077)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "signalbox_cli.main", "up", "--host", host, "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "SIGNALBOX_HOME": str(place.path), DETACHED: "1"},
        )
    deadline = time.monotonic() + DETACH_PATIENCE
    while time.monotonic() < deadline:
        running = place.read_state()
        if running is not None and running["pid"] == process.pid and running["phase"] == "ready":
            console.print(f"Signalbox is up: [bold]{running['url']}[/]  (`signalbox down` stops it)")
            return
        if process.poll() is not None:
            tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-15:]
            raise fail("it did not start:\n" + "\n".join(tail))
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait()
    raise fail(f"not ready after {DETACH_PATIENCE:.0f} s; see {log}")


def down(home: HomeOption = None) -> None:
    """Stop the stack; returns when nothing of it is left. The data stays."""
    place = Home.find(home)
    pid = place.supervisor()
    if pid is not None:
        _end_supervisor(place, pid)
        console.print("stopped; the data is kept")
    left = sandboxes.end_all(place) + leftovers.end(place)
    if pid is None:
        console.print(
            f"cleaned up {left} processes of a stack that was killed" if left else "nothing was running"
        )
    if place.path.exists():
        place.state_file.unlink(missing_ok=True)


def _end_supervisor(place: Home, pid: int) -> None:
    """Gone is who no longer holds the lock: its parent may keep a dead process listed."""
    for number, patience in ((signal.SIGTERM, DOWN_PATIENCE), (signal.SIGKILL, KILL_PATIENCE)):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not place.is_locked():
                return
            time.sleep(0.05)
        errors.print(f"the supervisor {pid} does not stop", style="yellow")


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Services, servers, streams, outbox backlog, work and dead letters."""
    from signalbox_cli.stack import status as stack_status

    place = Home.find(home)
    found = asyncio.run(stack_status.read(place))
    if found is None:
        if as_json:
            print(json.dumps({"phase": "down"}))
            raise typer.Exit(3)
        raise fail(f"nothing is running in {place.path}", 3)
    unsupervised = found["phase"] == stack_status.UNSUPERVISED
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show(found, unsupervised=unsupervised)
    if unsupervised:
        raise typer.Exit(4)


def _show(found: dict[str, Any], *, unsupervised: bool) -> None:
    if unsupervised:
        console.print(f"[bold]{found['url']}[/]")
        what = "the supervisor is dead, its programs run, `signalbox up` takes over\n"
        console.print(what, style="bold red")
    else:
        console.print(f"[bold]{found['url']}[/]  {found['phase']}  (supervisor {found['supervisor']})\n")
    disk = found["disk"]
    if disk["state"] != "ok":
        how = "full" if disk["state"] == "full" else "nearly full"
        left = f"{disk['freeBytes'] / 1e6:.0f} MB ({disk['free']:.1%}) are free"
        console.print(f"the disk is {how}: {left}\n", style="bold red")
    table = Table("name", "state", "pid", "restarts", "metrics", box=None, header_style="dim")
    others = [found["forkserver"]] if found["forkserver"] is not None else []
    for row in (*found["services"], *found["servers"], *others):
        colour = "green" if row["state"] == "running" else "yellow"
        metrics = f":{row['healthPort']}/metrics" if row.get("healthPort") else ""
        table.add_row(
            row["name"], f"[{colour}]{row['state']}[/]", str(row["pid"]), str(row["restarts"]), metrics
        )
    console.print(table)
    console.print()
    table = Table("stream", "messages", "consumer", "pending", "unacknowledged", box=None, header_style="dim")
    for stream in found["streams"] or ():
        table.add_row(stream["name"], str(stream["messages"]), "", "", "")
        for consumer in stream["consumers"]:
            lag = (str(consumer["pending"]), str(consumer["unacknowledged"]))
            table.add_row("", "", consumer["name"], *lag)
    console.print(table)
    backlog = "  ".join(f"{name} {'?' if n is None else n}" for name, n in found["outbox"].items())
    console.print(f"\noutbox        {backlog}")
    for service, jobs in found["work"].items():
        counts = {"waiting": "?"} if jobs is None else {name: n for name, n in jobs.items() if n}
        if counts:
            shown = "  ".join(f"{name} {count}" for name, count in counts.items())
            console.print(f"work          {service}  {shown}")
    letters = "?" if found["deadLetters"] is None else found["deadLetters"]
    console.print(f"dead letters  {letters}")
