"""`signalbox demo`."""

import os

from signalbox_cli.commands import stack
from signalbox_cli.commands.common import HomeOption, console, fail, speaking_http
from signalbox_cli.stack.home import Home
from signalbox_cli.stack.program import listening_socket


def demo(home: HomeOption = None) -> None:
    """Have a failing test mended: a repository, a task in a sandbox, and the branch that it ends as."""
    from signalbox_cli import demo as main_job

    place = Home.find(home)
    place.make()
    if not place.is_locked():
        console.print("Nothing is running yet: starting the stack …")
        stack.up(place.path, port=_port(), detach=True)
    with speaking_http():
        try:
            main_job.run(place)
        except (OSError, main_job.DemoFailed) as error:
            raise fail(f"the demo failed: {error}") from None


def _port() -> int:
    """The usual one if it is free, else any."""
    wanted = int(os.environ.get("SIGNALBOX_PORT", "8000"))
    try:
        listening_socket("127.0.0.1", wanted).close()
    except OSError:
        console.print(f"port {wanted} is taken: using a free one", style="dim")
        return 0
    return wanted
