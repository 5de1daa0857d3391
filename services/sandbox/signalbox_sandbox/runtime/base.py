"""What every kind of sandbox does, on the node that it is on."""

import socket
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class RuntimeRefused(Exception):
    """What cannot be done, with its code: asked again, it is the same."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class RuntimeAway(Exception):
    """Nobody is there who could do it, now."""


class SandboxGone(Exception):
    """It is not there any more."""


@dataclass(frozen=True)
class SandboxPlan:
    """What a sandbox is to be."""

    id: uuid.UUID
    epoch: int
    """Of this beginning of it: what has an earlier one is a leftover."""
    lifetime: float
    limits: Mapping[str, float | None] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    lower: Path | None = None
    """The checkout that its workspace begins with: `tree`, and `git`."""
    layer: Path | None = None
    """Of the template that it is made of."""
    builds: bool = False
    """Whether it makes one."""
    stopping: bool = False
    """Whether none of its programs may begin any more."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """As `egress/policy.py` reads it."""
    doors: Sequence[Mapping[str, Any]] = ()
    """`name`, `port` and `target` of each."""


@dataclass(frozen=True)
class Trace:
    """What a sandbox has left on its node, whoever remembers it elsewhere."""

    id: uuid.UUID
    epoch: int
    ended: str | None
    """Why, where somebody has said so."""


@dataclass(frozen=True)
class Found(Trace):
    """What is there of one that was looked for."""

    alive: bool
    paused: bool = False


class Files(Protocol):
    """A conversation about the files of a sandbox: what is asked is done as one of its programs would."""

    async def ask(self, do: str, **request: Any) -> dict[str, Any]: ...

    async def send(self, data: bytes) -> None:
        """A piece of what is written; none is the end."""

    async def done(self) -> dict[str, Any]:
        """The answer to all that was sent."""

    def rest(self) -> AsyncGenerator[bytes, None]:
        """The bytes, or lines, that follow an answer."""


class Changes(Protocol):
    """First what there is, then the bytes of some of it, in the order in which they are asked for."""

    async def entries(self) -> list[dict[str, Any]]:
        """As `keeper/upper.py` tells them."""

    def contents(self, paths: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
        """The bytes of all of them, one after the other, each after its size."""


class Runtime(Protocol):
    """Raises `RuntimeRefused`, `RuntimeAway` and `SandboxGone`; doing something again is harmless."""

    @property
    def enforced(self) -> frozenset[str]:
        """The limits that hold here."""

    async def all(self) -> Sequence[Trace]: ...

    async def find(self, sandbox: uuid.UUID) -> Found | None:
        """Waits for one that is about to end."""

    async def begin(self, plan: SandboxPlan) -> None:
        """With the files that it has already, if it has any."""

    async def pause(self, sandbox: uuid.UUID) -> None: ...

    async def resume(self, sandbox: uuid.UUID, lifetime: float) -> None: ...

    async def set_deadline(self, sandbox: uuid.UUID, lifetime: float) -> None: ...

    async def set_network(self, sandbox: uuid.UUID, network: Mapping[str, Any]) -> None:
        """Also for connections that are open."""

    async def stop_programs(self, sandbox: uuid.UUID, grace: float) -> None:
        """All are told to end, and ended after those seconds; no other begins."""

    async def end(self, sandbox: uuid.UUID) -> None:
        """Its programs; returns when none is left. What it has written stays."""

    def built(self, sandbox: uuid.UUID) -> Path:
        """What it has put below the prefix of templates, once it has ended."""

    async def remove(self, sandbox: uuid.UUID) -> None:
        """What it has written."""

    async def until_gone(self, sandbox: uuid.UUID) -> None:
        """Returns when it ends."""

    # -- files ---------------------------------------------------------------------------------------------

    def files(self, sandbox: uuid.UUID, fence: int | None = None) -> AbstractAsyncContextManager[Files]:
        """For one request, as `keeper/files.py` knows them."""

    def changes(self, sandbox: uuid.UUID) -> AbstractAsyncContextManager["Changes"]:
        """What it has changed of that checkout; while it is frozen."""

    # -- ports ---------------------------------------------------------------------------------------------

    async def connect(self, sandbox: uuid.UUID, port: int) -> socket.socket:
        """To what listens inside."""

    # -- programs ------------------------------------------------------------------------------------------

    async def ask(self, sandbox: uuid.UUID, do: str, **request: Any) -> dict[str, Any]:
        """`start`, `process`, `processes`, `confirm`, `signal`, `resize` and `end-process`: as keepers do."""

    async def write(self, sandbox: uuid.UUID, key: str, offset: int, data: bytes, **more: Any) -> int:
        """How many bytes of its input the process has then."""

    def output(
        self, sandbox: uuid.UUID, key: str, offset: int, *, follow: bool
    ) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]:
        """Frames, to the end of the process; they end without that frame where the sandbox ends."""
