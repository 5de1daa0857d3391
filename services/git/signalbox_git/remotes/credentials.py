"""What a remote is shown, handed over for one command alone: it is in no argument, file or environment.

git asks its own helper `credential-cache`, which asks whoever listens at its socket: we do, in a folder that
nobody else can enter. Keys of ssh are in an agent of their own, for as long as the command runs.
"""

import asyncio
import base64
import json
import os
import shlex
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import quote

from signalbox_common.remote_urls import RemoteUrl

DEFAULT_USER = "x-access-token"
"""What forges take beside a token, where nobody has said another one."""
_LARGEST_QUESTION = 16 * 1024
_PATIENCE = 10.0


class BadKey(Exception):
    """ssh does not take this key."""


@dataclass(frozen=True)
class Credential:
    """A token with its user, or a private key."""

    token: str | None = field(default=None, repr=False)
    username: str | None = None
    private_key: str | None = field(default=None, repr=False)

    def encode(self) -> bytes:
        values = {"token": self.token, "username": self.username, "privateKey": self.private_key}
        return json.dumps({name: value for name, value in values.items() if value is not None}).encode()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        values = json.loads(raw)
        return cls(values.get("token"), values.get("username"), values.get("privateKey"))


@dataclass
class CredentialSocket:
    """Answers for one address alone; what comes of it is known afterwards."""

    path: Path
    asked: bool = False
    refused: bool = False
    """Whether the remote did not take what it was shown."""

    @property
    def helper(self) -> str:
        """Asked to store something where nobody listens any more, git's own would start a daemon for it."""
        asks = f"git credential-cache --socket={shlex.quote(str(self.path))}"
        return f'!f() {{ test "$1" = store || {asks} "$1"; }}; f'


@asynccontextmanager
async def handing_over(
    credential: Credential | None, url: RemoteUrl, folder: Path
) -> AsyncIterator[CredentialSocket]:
    found = CredentialSocket(folder / "credential.sock")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(_PATIENCE):
                asked = await _question(reader)
                if asked.get("action") == "erase":
                    found.refused = True
                if asked.get("action") == "get":
                    found.asked = True
                    if credential is not None and credential.token is not None and _is_for(asked, url):
                        user = credential.username or DEFAULT_USER
                        writer.write(f"username={user}\npassword={credential.token}\n".encode())
                        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, found.path)
    try:
        yield found
    finally:
        server.close()
        await server.wait_closed()


async def _question(reader: asyncio.StreamReader) -> dict[str, str]:
    raw = b""
    while (piece := await reader.read(_LARGEST_QUESTION)) and len(raw) <= _LARGEST_QUESTION:
        raw += piece
    lines = raw.decode("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _is_for(asked: dict[str, str], url: RemoteUrl) -> bool:
    """git names what it has connected to, which is what it was told unless somebody has led it elsewhere."""
    own = str(url).partition("://")[2]
    host, _, path = own.partition("/")
    return (asked.get("protocol"), asked.get("host"), asked.get("path", "").rstrip("/")) == (
        str(url.scheme),
        host,
        path,
    )


@asynccontextmanager
async def agent_with(private_key: str, folder: Path) -> AsyncIterator[Path]:
    """The socket of an agent that has this key alone, and ends with the command. Raises BadKey."""
    path = folder / "agent.sock"
    environment = {"PATH": os.environ.get("PATH", os.defpath), "SSH_AUTH_SOCK": str(path)}
    # It ends with the command that it was started for, and that one when we close its input, or are killed.
    process = await asyncio.create_subprocess_exec(
        *("ssh-agent", "-a", str(path), "sh", "-c", "echo $SSH_AGENT_PID; exec cat"),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    agent = 0
    try:
        async with asyncio.timeout(_PATIENCE):
            said = await process.stdout.readline() if process.stdout is not None else b""
        agent = int(said or b"0")
        adding = await asyncio.create_subprocess_exec(
            *("ssh-add", "-q", "-"),
            env=environment | {"SSH_ASKPASS_REQUIRE": "never", "DISPLAY": ""},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        async with asyncio.timeout(_PATIENCE):
            await adding.communicate(private_key.strip().encode() + b"\n")
        if adding.returncode != 0:
            raise BadKey
        yield path
    finally:
        if agent:
            with suppress(ProcessLookupError):
                os.kill(agent, signal.SIGTERM)
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


def scrubbed(text: str, credential: Credential | None) -> str:
    """Without what the remote was shown, in whatever form git or a server repeats it."""
    for secret in sorted(_forms(credential), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _forms(credential: Credential | None) -> set[str]:
    if credential is None:
        return set()
    found = {line for line in (credential.private_key or "").splitlines() if not line.startswith("-----")}
    if token := credential.token:
        user = credential.username or DEFAULT_USER
        found |= {token, quote(token, safe=""), *map(_base64, (token, f"{user}:{token}"))}
    return {each for each in found if each}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
