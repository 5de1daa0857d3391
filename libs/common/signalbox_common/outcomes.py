"""What comes of a request: its answer, or that there is none yet."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from signalbox_common.contracts.base import Reply
from signalbox_common.contracts.operations import OperationStatus
from signalbox_common.errors import SignalboxError

R = TypeVar("R", bound=Reply)
Checkpoint = Callable[[str], Awaitable[None]]
"""Called at the named steps of a request's way; fault tests stop the process there."""


async def no_checkpoint(_step: str) -> None:
    """Nothing happens between the steps."""


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """The encoded answer of a request, as it was stored or as it goes out."""

    body: bytes
    failed: bool = False
    replayed: bool = False
    pending: bool = False
    """There is no answer yet: it goes to whoever waits when the operation is settled."""

    @property
    def status(self) -> OperationStatus:
        if self.pending:
            return OperationStatus.PENDING
        return OperationStatus.FAILED if self.failed else OperationStatus.SUCCEEDED

    @staticmethod
    def of(reply: R) -> "Outcome[R]":
        return Outcome(reply.encode())

    @staticmethod
    def failure(error: SignalboxError, *, replayed: bool = False) -> "Outcome[Any]":
        return Outcome(error.failure().encode(), failed=True, replayed=replayed)

    @staticmethod
    def later() -> "Outcome[Any]":
        return Outcome(b"", pending=True)


@dataclass(frozen=True)
class Deferred:
    """Returned by a use case whose work goes on: the operation stays pending until somebody settles it."""

    resource: str | None = None
