"""What the run has changed: out of the sandbox, into git, and as a diff that stays."""

import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from signalbox_common.contracts import git, sandbox
from signalbox_common.contracts.tasks import CHANGES
from signalbox_common.dataplane import DataClient
from signalbox_common.errors import SignalboxError
from signalbox_tasks.store import logs
from signalbox_tasks.work.log import RunLog
from signalbox_tasks.work.pausing import resumed
from signalbox_tasks.work.refusals import understood
from signalbox_tasks.work.steps.commits import bundled
from signalbox_tasks.work.steps.spooling import IN_MEMORY, spool, spooled_pieces
from signalbox_tasks.work.turn import Done, Outcome, StepFailed, Turn

_LARGEST_DIFF = 16 * 1024 * 1024
_CUT = b"\n[The diff is longer than what is kept of it.]\n"


@dataclass(frozen=True)
class CollectStep:
    log: RunLog

    async def do(self, turn: Turn) -> Outcome:
        """All of its programs end."""
        if (waits := await resumed(turn)) is not None:
            return waits
        failure: StepFailed | None = None
        if turn.task.spec.commits == "keep" and not turn.run.stopping and turn.run.error is None:
            try:
                await self._keep_commits(turn)
            except StepFailed as error:
                failure = error  # what has changed is kept all the same
        digest, size = await collected(turn, CHANGES)
        if failure is not None:
            await _know(turn, changes=digest)
            raise failure
        return Done(f"{size} bytes", {"changes": digest})

    async def _keep_commits(self, turn: Turn) -> None:
        """Before its programs end: git makes the bundle inside."""
        if "bundle" not in turn.run.facts:
            await _know(turn, bundle=await bundled(turn, self.log))


async def _know(turn: Turn, **facts: Any) -> None:
    async with turn.transaction() as transaction:
        run = await turn.now(transaction)
        await turn.save(transaction, run.knowing(**facts))


async def collected(turn: Turn, name: str, *, goes_on: bool = False) -> tuple[str, int]:
    """What has changed until now, in git under its digest, and as an artifact of that name.

    The same bytes under the same name, however often.
    """
    identifier = uuid.UUID(turn.run.facts["sandbox"])
    await turn.job.keep()
    with understood():
        with SpooledTemporaryFile(IN_MEMORY) as spooled:
            async with turn.peers.sandbox(identifier) as client:
                digest, size = await _taken(client, identifier, spooled)
            await turn.job.keep()
            async with turn.peers.git() as client:
                await client.write(git.PUT_CHANGES, lambda: spooled_pieces(spooled), sha256=digest)
                diff = await _diff(client, turn, digest)
        if goes_on:
            async with turn.peers.sandbox(identifier) as client:
                await _thaw(client, identifier)
    async with turn.transaction() as transaction:
        sha256 = hashlib.sha256(diff).hexdigest()
        await logs.keep(transaction, turn.run.id, name, "text/x-diff", sha256, diff)
    return digest, size


async def restored(turn: Turn, digest: str) -> None:
    """Lays what was collected once into a sandbox in which nothing has begun yet; again, it is the same."""
    identifier = uuid.UUID(turn.run.facts["sandbox"])
    await turn.job.keep()
    with understood(), SpooledTemporaryFile(IN_MEMORY) as spooled:
        async with turn.peers.git() as client:
            await spool(client.read(git.READ_CHANGES, sha256=digest), spooled)
        await turn.job.keep()
        async with turn.peers.sandbox(identifier) as client:
            named = {"sandbox": str(identifier)}
            await client.write(sandbox.WRITE_CHANGES, lambda: spooled_pieces(spooled), **named)


async def _thaw(client: DataClient, identifier: uuid.UUID) -> None:
    try:
        await client.write(sandbox.THAW, _nothing, sandbox=str(identifier))
    except SignalboxError as error:
        if error.code != "not_frozen":
            raise


async def _nothing() -> AsyncIterator[bytes]:
    for _ in ():
        yield b""


async def _taken(client: DataClient, identifier: uuid.UUID, into: IO[bytes]) -> tuple[str, int]:
    """While nothing in the sandbox runs any more."""
    named = {"sandbox": str(identifier)}
    body = sandbox.Freeze(kill=True).encode()

    async def freeze() -> AsyncIterator[bytes]:
        yield body

    try:
        await client.write(sandbox.FREEZE, freeze, **named)
    except SignalboxError as error:
        if error.code != "sandbox_frozen":
            raise
    return await spool(client.read(sandbox.READ_CHANGES, **named), into)


async def _diff(client: DataClient, turn: Turn, digest: str) -> bytes:
    named = {"sha256": digest, "repository": str(turn.task.spec.repository), "base": turn.run.facts["commit"]}
    found = bytearray()
    async with aclosing(client.read(git.READ_CHANGES_DIFF, **named)) as reading:
        async for chunk in reading:
            found += chunk
            if len(found) > _LARGEST_DIFF:
                return bytes(found[:_LARGEST_DIFF]) + _CUT
    return bytes(found)
