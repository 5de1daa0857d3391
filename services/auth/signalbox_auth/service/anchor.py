"""Notes how far the audit log has come where nobody is who can cut it: on the bus."""

import asyncio
import json

from signalbox_auth.store import audit as rows
from signalbox_common import background, telemetry
from signalbox_common.bus.buckets import SignedBucket
from signalbox_common.db import Database
from signalbox_common.entries import Entry, Found, RootKey

log = telemetry.get_logger()

EVERY = 2.0
_NAME = "head"


class Anchor:
    def __init__(self, database: Database, bucket: SignedBucket, root: RootKey) -> None:
        self._database = database
        self._bucket = bucket
        self._root = root
        self._seen = 0
        self._misfit: str | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="audit anchor")

    async def stop(self) -> None:
        await background.end(self._task)

    async def noted(self) -> tuple[int, bytes]:
        """The number and the hash of the last line that was noted."""
        return _said_in(await self._bucket.newest(_NAME))

    def degraded(self) -> str | None:
        """Why the note cannot be trusted, or does not fit the log."""
        return self._misfit or self.ignored()

    def ignored(self) -> str | None:
        """What lies beside the note and is not auth's."""
        return self._bucket.degraded()

    async def _run(self) -> None:
        while True:
            try:
                await self._note()
            except Exception as error:  # noqa: BLE001 - noted a moment later then
                log.warning("the end of the audit log was not noted", reason=repr(error)[:300])
            await asyncio.sleep(EVERY)

    async def _note(self) -> None:
        async with self._database.reading() as connection:
            last, sealed = await rows.head(connection)
            if last == self._seen:
                return
            found = await self._bucket.newest(_NAME)
            noted, noted_hash = _said_in(found)
            there = await rows.hash_of(connection, noted) if noted else b""
        if there != noted_hash:
            # The note stays as it is: it is the proof, until an operator has looked.
            self._misfit = f"the audit log has {last} lines and is not the one that was noted at {noted}"
            log.error("the audit log is not the one that was noted", lines=last, noted=noted)
        elif noted < last or found.entry is None:
            await self._bucket.put(self._root, _NAME, Entry(last, {"hash": sealed.hex()}))
            await self._bucket.newest(_NAME)  # so that health knows of this one, too
        self._seen = last


def _said_in(found: Found) -> tuple[int, bytes]:
    if found.entry is not None:
        return found.entry.number, bytes.fromhex(found.entry.about["hash"])
    return _noted_before_signatures(found.unsigned) if found.unsigned is not None else (0, b"")


def _noted_before_signatures(stored: bytes) -> tuple[int, bytes]:
    """By an earlier version; what fits the log is signed with the next note."""
    try:
        about = json.loads(stored)
        return int(about["sequence"]), bytes.fromhex(about["hash"])
    except (ValueError, KeyError, TypeError):
        return 0, b""
