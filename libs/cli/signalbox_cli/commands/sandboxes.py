"""`signalbox sandbox`: machines, their programs and files, and what they reach and use."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from signalbox_cli.commands.common import (
    AllowOption,
    EnvOption,
    JsonOption,
    ProjectOption,
    PublicOption,
    UrlOption,
    console,
    fail,
    network_of,
    pairs,
    speaking_http,
)
from signalbox_cli.commands.sandbox_output import (
    moment,
    process_table,
    sandbox_table,
    show,
    told,
    usage_table,
)

if TYPE_CHECKING:
    from signalbox_cli.sandboxes import SandboxApi

app = typer.Typer(help="Safe machines, and the programs in them.", no_args_is_help=True)

SandboxId = Annotated[str, typer.Argument(metavar="SANDBOX", help="Its id, or the beginning of it.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="The id alone.")]
_INTERRUPTED = 130
_SIGNALLED = 128


@contextmanager
def _open(url: str | None) -> Iterator["SandboxApi"]:
    with speaking_http():
        from signalbox_cli.client import find_url, open_client
        from signalbox_cli.sandboxes import SandboxApi

        with open_client(find_url(url)) as http:
            yield SandboxApi(http)


@app.command()
def create(
    template: Annotated[str, typer.Argument(help="What it is made of.")] = "base",
    project: ProjectOption = None,
    env: EnvOption = None,
    timeout: Annotated[int, typer.Option(help="Seconds until its end.")] = 3600,
    pause_at_end: Annotated[bool, typer.Option("--pause", help="Then it is paused, not destroyed.")] = False,
    allow: AllowOption = None,
    public: PublicOption = False,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", metavar="NAME=NUMBER", help="Like memoryMb=512, cpus=0.5.")
    ] = None,
    door: Annotated[
        list[str] | None, typer.Option("--door", metavar="NAME=PORT:TARGET", help="Like echo=5000:echo.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", "-l", metavar="NAME=VALUE")] = None,
    repo: Annotated[str | None, typer.Option(help="A repository, whose files are in /workspace.")] = None,
    ref: Annotated[str | None, typer.Option(help="Where to begin there: a branch, a tag, a commit.")] = None,
    new_branch: Annotated[str | None, typer.Option(help="What the branch is called that it is on.")] = None,
    submodules: Annotated[bool, typer.Option("--submodules", help="With those of the repository.")] = False,
    lfs: Annotated[bool, typer.Option("--lfs", help="With the files that LFS keeps of it.")] = False,
    url: UrlOption = None,
    quiet: Quiet = False,
    as_json: JsonOption = False,
) -> None:
    """Make a sandbox; it runs when this returns."""
    given = {"repository": repo, "ref": ref, "newBranch": new_branch, "projectId": project}
    body = {
        "template": template,
        "env": pairs(env),
        "timeout": timeout,
        "atEnd": "pause" if pause_at_end else "destroy",
        "network": network_of(allow, public=public),
        "limits": {name: _number(value) for name, value in pairs(limit).items()},
        "doors": [_door(name, value) for name, value in pairs(door).items()],
        "labels": pairs(label),
        "submodules": submodules,
        "lfs": lfs,
    }
    with _open(url) as api:
        made = api.create(body | {name: value for name, value in given.items() if value is not None})
    show(made, quiet=quiet, as_json=as_json)


@app.command("ls")
def list_(
    project: Annotated[str | None, typer.Option("--project", "-p", help="By default all of yours.")] = None,
    ended: Annotated[bool, typer.Option("--all", "-a", help="Also those that have ended.")] = False,
    url: UrlOption = None,
    quiet: Quiet = False,
    as_json: JsonOption = False,
) -> None:
    """List sandboxes, newest first."""
    with _open(url) as api:
        found = [each for each in api.every(project) if ended or each["status"] not in api.ENDED]
    if as_json:
        print(json.dumps(found, indent=2))
    elif quiet:
        for each in found:
            print(each["id"])
    else:
        console.print(sandbox_table(found))


@app.command(context_settings={"allow_interspersed_args": False})
def exec(  # noqa: A001 - as it is called
    sandbox: SandboxId,
    command: Annotated[list[str], typer.Argument(metavar="-- PROGRAM…", help="And its arguments.")],
    env: EnvOption = None,
    cwd: Annotated[str | None, typer.Option(help="Where; by default /workspace.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds until it is ended.")] = None,
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Give it what comes in here.")] = False,
    url: UrlOption = None,
) -> None:
    """Run a program in a sandbox, and end as it does. Options of ours come before the sandbox."""
    if command[0] == "--":
        command = command[1:]
    body: dict[str, Any] = {"argv": command, "env": pairs(env), "cwd": cwd, "timeout": timeout}
    if stdin:
        body["stdin"] = sys.stdin.read()
    with _open(url) as api:
        try:
            end = told(api.execute(api.find(sandbox), body))
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
    if end.get("timedOut"):
        raise fail("it took too long, and was ended", 124)
    if end.get("reason") == "disk":
        raise fail("it was ended: the sandbox has more on its disk than it may", _SIGNALLED + 9)
    if end["lost"]:
        raise fail(f"{end['lost']} bytes of what it said came faster than they were read, and are lost", 125)
    raise typer.Exit(end["exitCode"] if end.get("exitCode") is not None else _SIGNALLED + end["signal"])


@app.command()
def shell(
    sandbox: SandboxId,
    key: Annotated[str | None, typer.Option(help="Of a terminal to go on with.")] = None,
    url: UrlOption = None,
) -> None:
    """Open a shell in a sandbox."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise fail("a shell needs a terminal: `signalbox sandbox exec` runs programs without one", 2)
    with _open(url) as api:
        from signalbox_cli import terminal

        code = terminal.open_shell(api.http, api.find(sandbox), key)
    raise typer.Exit(code)


@app.command()
def cp(
    source: Annotated[str, typer.Argument(metavar="[SANDBOX:]PATH")],
    target: Annotated[str, typer.Argument(metavar="[SANDBOX:]PATH")],
    url: UrlOption = None,
) -> None:
    """Copy a file or a folder into a sandbox, or out of it."""
    from signalbox_cli.copying import Copying, split

    (of_source, path), (of_target, place) = split(source), split(target)
    if (of_source is None) == (of_target is None):
        raise fail("one of both is in a sandbox: SANDBOX:PATH", 2)
    with _open(url) as api:
        try:
            if of_source is not None:
                Copying(api.http, api.find(of_source)).download(path or ".", Path(place))
            else:
                Copying(api.http, api.find(of_target or "")).upload(Path(path), place or ".")
        except OSError as error:
            raise fail(f"{error.filename}: {error.strerror}") from None


@app.command()
def logs(
    sandbox: SandboxId,
    key: Annotated[str, typer.Argument(help="Of a process; `signalbox sandbox ps` lists them.")],
    url: UrlOption = None,
) -> None:
    """Show what a process has said, and follow it to its end."""
    with _open(url) as api:
        try:
            told(api.output(api.find(sandbox), key))
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None


@app.command()
def ps(sandbox: SandboxId, url: UrlOption = None, as_json: JsonOption = False) -> None:
    """List the processes that were started in a sandbox."""
    with _open(url) as api:
        found = api.processes(api.find(sandbox))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    console.print(process_table(found))


@app.command()
def top(
    project: Annotated[str | None, typer.Option("--project", "-p", help="By default all of yours.")] = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Show one look, and end.")] = False,
    url: UrlOption = None,
) -> None:
    """Show what sandboxes use, until it is interrupted."""
    import time

    from rich.live import Live

    with _open(url) as api:
        before = api.all_metrics(project)
        try:
            with Live(console=console, auto_refresh=False, transient=not once) as live:
                while True:
                    time.sleep(every)
                    now = api.all_metrics(project)
                    if once:
                        break
                    live.update(usage_table(before, now), refresh=True)
                    before = now
                live.update(usage_table(before, now), refresh=True)
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None


@app.command()
def port(
    sandbox: SandboxId,
    number: Annotated[int, typer.Argument(metavar="PORT", help="At which something listens.")],
    expires_in: Annotated[int, typer.Option(help="Seconds for which the link holds.")] = 3600,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a link to what listens in a sandbox, for whoever has it."""
    with _open(url) as api:
        made = api.link(api.find(sandbox), number, expires_in)
    print(json.dumps(made, indent=2) if as_json else made["url"])
    if not as_json:
        ends = moment(made["expiresAt"])
        sys.stderr.write(f"until {ends}, or until the token {made['tokenId']} is revoked\n")


@app.command()
def pause(sandbox: SandboxId, url: UrlOption = None) -> None:
    """Stop its programs where they are; its files outlive a restart of its node."""
    with _open(url) as api:
        show(api.change(api.find(sandbox), "pause"))


@app.command()
def resume(sandbox: SandboxId, url: UrlOption = None) -> None:
    """Let a paused sandbox go on."""
    with _open(url) as api:
        show(api.change(api.find(sandbox), "resume"))


@app.command()
def timeout(
    sandbox: SandboxId, seconds: Annotated[int, typer.Argument(help="From now on.")], url: UrlOption = None
) -> None:
    """Set how long a sandbox still runs."""
    with _open(url) as api:
        show(api.set_timeout(api.find(sandbox), seconds))


@app.command()
def network(
    sandbox: SandboxId,
    allow: AllowOption = None,
    public: PublicOption = False,
    none: Annotated[bool, typer.Option("--none", help="It may reach nobody.")] = False,
    url: UrlOption = None,
) -> None:
    """Set what a sandbox may reach; connections that are open and may not be any more are cut."""
    if sum((bool(allow), public, none)) != 1:
        raise fail("say one of --allow HOST, --public and --none", 2)
    with _open(url) as api:
        show(api.set_network(api.find(sandbox), network_of(allow, public=public)))


@app.command()
def kill(
    sandboxes: Annotated[list[str], typer.Argument(metavar="SANDBOX…", help="Ids, or their beginnings.")],
    url: UrlOption = None,
) -> None:
    """Destroy sandboxes, with all that is in them."""
    with _open(url) as api:
        for sandbox in sandboxes:
            show(api.destroy(api.find(sandbox)))


def _number(text: str) -> float | int:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise fail(f"{text!r} is no number", 2) from None


def _door(name: str, text: str) -> dict[str, Any]:
    port, _, target = text.partition(":")
    return {"name": name, "port": int(_number(port)), "target": target}
