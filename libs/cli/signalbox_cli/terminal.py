"""A terminal here, and a shell in a sandbox."""

import asyncio
import json
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from signalbox_cli.client import Client
from signalbox_common import background

_LOST = 255
_PIECE = 4096


def open_shell(http: Client, sandbox: str, key: str | None) -> int:
    """To its end; the code that it ends with."""
    ticket = http.post("/api/v1/auth/ws-ticket").json()["ticket"]
    columns, rows = shutil.get_terminal_size()
    base = str(http.base_url).rstrip("/").replace("http", "ws", 1)
    address = f"{base}/api/v1/sandboxes/{sandbox}/terminal?ticket={ticket}&rows={rows}&cols={columns}"
    if key is not None:
        address += f"&key={key}"
    return asyncio.run(_converse(address))


async def _converse(address: str) -> int:
    async with connect(address, max_size=None, proxy=None) as socket:
        with _raw():
            return await _until_end(socket)


async def _until_end(socket: ClientConnection) -> int:
    loop = asyncio.get_running_loop()
    typed: asyncio.Queue[bytes] = asyncio.Queue()
    resized = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: typed.put_nowait(os.read(sys.stdin.fileno(), _PIECE)))
    loop.add_signal_handler(signal.SIGWINCH, resized.set)
    sending = asyncio.create_task(_send(socket, typed))
    resizing = asyncio.create_task(_resize(socket, resized))
    try:
        return await _hear(socket)
    finally:
        loop.remove_reader(sys.stdin.fileno())
        loop.remove_signal_handler(signal.SIGWINCH)
        await background.end(sending, resizing)


async def _hear(socket: ClientConnection) -> int:
    try:
        async for message in socket:
            if isinstance(message, bytes):
                sys.stdout.buffer.write(message)
                sys.stdout.buffer.flush()
                continue
            said: dict[str, Any] = json.loads(message)
            if said["type"] == "end":
                code = said["exitCode"]
                return int(code if code is not None else 128 + said["signal"])
    except ConnectionClosed:
        pass
    sys.stderr.write(f"\r\nthe connection has ended: {socket.close_reason or 'lost'}\r\n")
    return _LOST


async def _send(socket: ClientConnection, typed: "asyncio.Queue[bytes]") -> None:
    while data := await typed.get():
        await socket.send(data)


async def _resize(socket: ClientConnection, resized: asyncio.Event) -> None:
    while True:
        await resized.wait()
        resized.clear()
        columns, rows = shutil.get_terminal_size()
        await socket.send(json.dumps({"type": "resize", "rows": rows, "cols": columns}))


@contextmanager
def _raw() -> Iterator[None]:
    """What is typed goes there as it is, Ctrl-C too."""
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
