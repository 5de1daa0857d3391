"""Notes how far the audit log has come where nobody is who can cut it: on the bus."""

import asyncio
import json

from signalbox_auth.store import audit as rows
from signalbox_common import background, telemetry
from signalbox_common.bus import Bus
from signalbox_common.contracts.streams import AUDIT_BUCKET
from signalbox_common.db import Database

log = telemetry.get_logger()

EVERY = 2.0
_NAME = "head"


class Anchor:
    def __init__(self, database: Database, bus: Bus) -> None:
        self._database = database
        self._bus = bus
        self._seen = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="audit anchor")

    async def stop(self) -> None:
        await background.end(self._task)

    async def noted(self) -> tuple[int, bytes]:
        """The number and the hash of the last line that was noted."""
        stored = await self._bus.kept(AUDIT_BUCKET, _NAME)
        if stored is None:
            return 0, b""
        about = json.loads(stored)
        return int(about["sequence"]), bytes.fromhex(about["hash"])

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
            noted, noted_hash = await self.noted()
            there = await rows.hash_of(connection, noted) if noted else b""
        if there != noted_hash:
            # The note stays as it is: it is the proof, until an operator has looked.
            log.error("the audit log is not the one that was noted", lines=last, noted=noted)
        elif noted < last:
            about = {"sequence": last, "hash": sealed.hex()}
            await self._bus.keep(AUDIT_BUCKET, _NAME, json.dumps(about).encode())
        self._seen = last
