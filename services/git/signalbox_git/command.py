"""git as a subprocess, where nothing of the machine, of a person or of a repository says what it does.

No shell, no hooks, no filters, no pager, no prompt, no system or global configuration; only protocols that
the caller names. Time, output and processes are bounded, and all that it has started ends with it.
"""

import asyncio
import os
import resource
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from signalbox_common import background

WITHIN = 120.0
LARGEST_ANSWER = 64 * 1024 * 1024
_LARGEST_COMPLAINT = 16 * 1024
_PIECE = 256 * 1024
_NOT_TAKEN = (OSError, RuntimeError)
"""What writing ends with where nobody reads any more; the latter is uvloop's word for it."""
PROMISOR = "signalbox"
"""What a partial repository calls the remote that has the rest; each fetch is told where that is."""
_PARTIAL = ((f"remote.{PROMISOR}.promisor", "true"), (f"remote.{PROMISOR}.partialclonefilter", "blob:none"))
_BARE = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
_CONFIGURATION = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "core.fsync": "committed",
    "core.commitGraph": "false",
    "core.untrackedCache": "false",
    "core.pager": "cat",
    "credential.helper": "",
    "credential.useHttpPath": "true",
    "diff.external": "",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.recurseSubmodules": "no",
    "submodule.recurse": "false",
    "transfer.fsckObjects": "true",
    "protocol.allow": "never",
    "http.followRedirects": "false",
    "http.proxy": "",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "60",
    "uploadpack.packObjectsHook": "",
    "user.useConfigOnly": "true",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "push.gpgSign": "false",
}
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "GIT_PROTOCOL_FROM_USER": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "TZ": "UTC",
}


_LIMITS = {resource.RLIMIT_DATA: "data", resource.RLIMIT_FSIZE: "fsize"}
_NO_MEMORY = ("out of memory", "cannot allocate memory")


class GitFailed(Exception):
    """Carries what git has complained of, and what it has said."""

    def __init__(self, arguments: Sequence[str], status: int, complaint: str, said: str = "") -> None:
        super().__init__(f"git {arguments[0]} has ended with {status}: {complaint[:500]}")
        self.status = status
        self.complaint = complaint
        self.said = said


class TookTooLong(Exception):
    """It was ended."""


class AnsweredTooMuch(Exception):
    """It was ended: its answer, or what it needed to find it, was more than it may take."""


@dataclass(frozen=True)
class GitDirectory:
    """A bare one, or what stands for one while something is made."""

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    inherits: tuple[int, ...] = ()
    """Descriptors of locks, which hold as long as what was started under them, though we are killed."""
    partial: bool = False
    """Whether git is to know that files may be missing: it fetches none, and does not complain of them."""

    @staticmethod
    def make(folder: Path, inherits: tuple[int, ...] = ()) -> "GitDirectory":
        """A bare one as `git init` makes it, with nothing of anybody's templates; one that is there stays."""
        for name in ("objects/pack", "objects/info", "refs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "config").write_text(_BARE, encoding="ascii")
        if not (folder / "HEAD").exists():  # last: what has one is a repository
            (folder / "HEAD").write_text("ref: refs/heads/none\n", encoding="ascii")
        return GitDirectory(folder, inherits=inherits)

    async def run(
        self,
        *arguments: str,
        given: bytes | AsyncIterator[bytes] = b"",
        env: Mapping[str, str] | None = None,
        config: Sequence[tuple[str, str]] = (),
        in_folder: Path | None = None,
        within: float = WITHIN,
        most: int = LARGEST_ANSWER,
        hear: Callable[[bytes], None] | None = None,
        into: IO[bytes] | None = None,
        limits: Mapping[int, int] | None = None,
    ) -> bytes:
        """What it says, unless that goes into a file; `hear` is told of its progress.

        `limits` are those of the operating system, for what may not end well. Raises GitFailed, TookTooLong
        and AnsweredTooMuch.
        """
        settings = (*_CONFIGURATION.items(), *(_PARTIAL if self.partial else ()), *config)
        options = [word for name, value in settings for word in ("-c", f"{name}={value}")]
        process = await asyncio.create_subprocess_exec(
            *_limited(limits or {}),
            "git",
            "--no-pager",
            f"--git-dir={self.folder.absolute()}",
            *options,
            *arguments,
            cwd=in_folder or self.folder,
            env={**_ENVIRONMENT, **self.env, **(env or {})},
            stdin=asyncio.subprocess.DEVNULL if given == b"" else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if into is None else into,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            pass_fds=self.inherits,
        )
        try:
            async with asyncio.timeout(within):
                said, complaint = await _conversation(process, given, most, hear)
                status = await process.wait()
        except TimeoutError as error:
            raise TookTooLong(arguments[0]) from error
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if status != 0:
            if limits and _lacks_memory(complaint):
                raise AnsweredTooMuch
            words = (complaint, said[:_LARGEST_COMPLAINT])
            raise GitFailed(arguments, status, *(each.decode("utf-8", "replace").strip() for each in words))
        return said

    async def line(self, *arguments: str, given: bytes | AsyncIterator[bytes] = b"") -> str:
        return (await self.run(*arguments, given=given)).decode("ascii", "replace").strip()


def own_words(complaint: str) -> Iterator[str]:
    """Lines that are not of a remote, as far as git marks them: it does not, after the last one."""
    for line in complaint.splitlines():
        if line.startswith("fatal: remote error:"):
            return
        if not line.startswith(("remote:", "fatal: protocol error:")):
            yield line


def _lacks_memory(complaint: bytes) -> bool:
    words = own_words(complaint.decode("utf-8", "replace"))
    return any(word in line.lower() for line in words for word in _NO_MEMORY)


def _limited(limits: Mapping[int, int]) -> list[str]:
    """What git is started by, so that it never is without them; whatever it starts has them as well."""
    words = [f"--{_LIMITS[limit]}={most}:{most}" for limit, most in limits.items()]
    return ["prlimit", *words] if words else []


async def _conversation(
    process: asyncio.subprocess.Process,
    given: bytes | AsyncIterator[bytes],
    most: int,
    hear: Callable[[bytes], None] | None,
) -> tuple[bytes, bytes]:
    if process.stderr is None:
        raise TypeError("it was started without a pipe")
    giving = asyncio.create_task(_give(process.stdin, given)) if process.stdin is not None else None
    complaining = asyncio.create_task(_complaint(process.stderr, hear))
    try:
        said = await _answer(process.stdout, most) if process.stdout is not None else b""
        if giving is not None:
            await giving
        return said, await complaining
    finally:
        await background.end(giving, complaining)


async def _give(stdin: asyncio.StreamWriter, given: bytes | AsyncIterator[bytes]) -> None:
    """All of it, or as much as is taken: whoever does not want more says why."""
    try:
        with suppress(*_NOT_TAKEN):
            if isinstance(given, bytes):
                stdin.write(given)
            else:
                await _give_pieces(stdin, given)
            await stdin.drain()
    finally:  # also where what is given has failed: it is not waited for
        with suppress(*_NOT_TAKEN):
            stdin.close()
            await stdin.wait_closed()


async def _give_pieces(stdin: asyncio.StreamWriter, given: AsyncIterator[bytes]) -> None:
    """Closes what they come from, also where nobody wants the rest of it."""
    try:
        async for piece in given:
            stdin.write(piece)
            await stdin.drain()
    finally:
        if isinstance(given, AsyncGenerator):
            await given.aclose()


async def _answer(stream: asyncio.StreamReader, most: int) -> bytes:
    found = bytearray()
    while piece := await stream.read(_PIECE):
        if len(found) + len(piece) > most:
            raise AnsweredTooMuch
        found += piece
    return bytes(found)


async def _complaint(stream: asyncio.StreamReader, hear: Callable[[bytes], None] | None) -> bytes:
    """The end of it: what is told last is why it failed."""
    found = b""
    while piece := await stream.read(_PIECE):
        if hear is not None:
            hear(piece)
        found = (found + piece)[-_LARGEST_COMPLAINT:]
    return found
