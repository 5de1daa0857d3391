"""`signalbox demo`."""

import asyncio
import os

from signalbox_cli.commands import stack
from signalbox_cli.commands.common import HomeOption, console, fail
from signalbox_cli.stack.home import Home
from signalbox_cli.stack.program import listening_socket


def demo(home: HomeOption = None) -> None:
    """Register, log in, create a project, apply a bot to it, and watch the events pass."""
    import httpx
    import nats.errors

    from signalbox_cli import demo as slice_of_the_stack

    place = Home.find(home)
    place.make()
    if not place.is_locked():
        console.print("Nothing is running yet: starting the stack …")
        stack.up(place.path, port=_port(), detach=True)
    try:
        asyncio.run(slice_of_the_stack.run(place))
    except TimeoutError:
        raise fail("the demo failed: an event did not come") from None
    except (httpx.HTTPError, nats.errors.Error, OSError, slice_of_the_stack.DemoFailed) as error:
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
