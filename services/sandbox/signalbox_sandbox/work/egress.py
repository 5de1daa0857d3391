"""The line to the role `egress` of this node: says that the node is alive, and hears what went out."""

import asyncio
import json
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import Counter

from signalbox_common import background, cloudevents, telemetry
from signalbox_common.bus import Bus
from signalbox_common.contracts.sandbox import SandboxConnected
from signalbox_common.db import Database
from signalbox_common.keys import uuid7
from signalbox_sandbox.egress.server import CONTROL
from signalbox_sandbox.keeper.sockets import reached
from signalbox_sandbox.store import sandboxes

log = telemetry.get_logger()

LEASE = 8.0
"""Seconds after the last heartbeat in which programs still reach the network."""
TOLD = 2_000
"""Connections of one sandbox that are told one by one; from then on they are only counted."""
KEPT = 24 * 3600
"""Seconds for which the stream keeps them."""
_AGAIN = 0.5
_PATIENCE = 2.0
_WAITING = 2_000
"""Connections that wait to be told."""
_KNOWN = 10_000
_LARGEST_LINE = 64 * 1024
_NOBODY = dict.fromkeys(("connections", "denied", "sent", "received"), 0)

_connections = Counter(
    "signalbox_sandbox_connections",
    "Connections that came out of sandboxes, by what became of them.",
    ["verdict"],
)
_bytes = Counter("signalbox_sandbox_network_bytes", "Bytes of sandboxes on the network.", ["direction"])


@dataclass
class _Known:
    """Whose events these are."""

    project: uuid.UUID
    operation: str | None
    told: int = 0


class EgressLink:
    def __init__(self, database: Database, bus: Bus, folder: Path) -> None:
        self._database = database
        self._bus = bus
        self._folder = folder
        self._known: dict[str, _Known] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._asked: dict[str, asyncio.Future[dict[str, int]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._to_tell: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_WAITING)
        self._dropped = 0

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="line to the role egress")
            self._telling = asyncio.create_task(self._tell_all(), name="connections of sandboxes")

    async def stop(self) -> None:
        await background.end(self._task, self._telling)

    @property
    def reason(self) -> str | None:
        """Why nothing goes out, for health."""
        return None if self._writer is not None else "the role egress does not answer"

    def beat(self) -> None:
        """The node has just been seen to be alive."""
        if self._writer is not None and not self._writer.transport.get_write_buffer_size():
            self._say({"lease": LEASE})

    async def totals(self, sandbox: uuid.UUID) -> dict[str, int]:
        """What has gone through since the role began; nothing where it is away."""
        name = str(sandbox)
        if self._writer is None:
            return _NOBODY
        asked = self._asked.get(name)
        if asked is None:
            asked = self._asked[name] = asyncio.get_running_loop().create_future()
            self._say({"totals": name})
        try:
            async with asyncio.timeout(_PATIENCE):
                return await asyncio.shield(asked)
        except TimeoutError:
            return _NOBODY
        finally:
            self._asked.pop(name, None)

    def _say(self, message: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def _keep(self) -> None:
        while True:
            with suppress(OSError, ValueError):
                await self._converse()
            await asyncio.sleep(_AGAIN)

    async def _converse(self) -> None:
        with reached(self._folder) as short:
            reader, writer = await asyncio.open_unix_connection(short / CONTROL, limit=_LARGEST_LINE)
        self._writer = writer
        self.beat()
        try:
            while line := await reader.readline():
                said = json.loads(line)
                if "totals" in said:
                    self._answer(said)
                else:
                    self._count(said)
        finally:
            self._writer = None
            writer.close()

    def _answer(self, said: dict[str, Any]) -> None:
        asked = self._asked.get(said.pop("totals"))
        if asked is not None and not asked.done():
            asked.set_result(said)

    def _count(self, said: dict[str, Any]) -> None:
        """And have it told: whoever reads the line waits for nobody."""
        _connections.labels(said["verdict"]).inc()
        _bytes.labels("sent").inc(said["sent"])
        _bytes.labels("received").inc(said["received"])
        try:
            self._to_tell.put_nowait(said)
        except asyncio.QueueFull:
            self._dropped += 1

    async def _tell_all(self) -> None:
        while True:
            await self._tell(await self._to_tell.get())
            if self._dropped:
                log.warning("connections not told", count=self._dropped)
                self._dropped = 0

    async def _tell(self, said: dict[str, Any]) -> None:
        try:
            known = await self._whose(said["sandbox"])
            if known is not None and known.told < TOLD:
                known.told += 1
                await self._publish(SandboxConnected.model_validate(said), known)
        except Exception as error:  # noqa: BLE001 - one that is not told must not end the line
            log.warning("connection not told", sandbox=said["sandbox"], reason=repr(error)[:300])

    async def _publish(self, event: SandboxConnected, known: _Known) -> None:
        service = self._bus.settings.service
        headers = cloudevents.headers_of(event, uuid7(), service, operation=known.operation)
        subject = event.subject_in(known.project, service)
        await self._bus.store_event(subject, event.encode(), headers | {cloudevents.TTL: f"{KEPT}s"})

    async def _whose(self, sandbox: str) -> _Known | None:
        if sandbox not in self._known:
            async with self._database.reading() as connection:
                found = await sandboxes.find(connection, uuid.UUID(sandbox))
            if found is None:
                return None
            if len(self._known) >= _KNOWN:
                self._known.pop(next(iter(self._known)))
            self._known[sandbox] = _Known(found.project_id, found.operation)
        return self._known[sandbox]
