"""Locks between all instances that share a disk; they end with whoever has them."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_AGAIN = 0.05


class Held(Exception):
    """Somebody else has it."""


@asynccontextmanager
async def locked(path: Path, *, alone: bool, wait: bool = True) -> AsyncIterator[int]:
    """Its descriptor; raises Held where nobody is waited for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    try:
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    raise Held from None
            await asyncio.sleep(_AGAIN)
        yield descriptor
    finally:
        with suppress(OSError):
            os.close(descriptor)
