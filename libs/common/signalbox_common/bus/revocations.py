"""Follows the stream of revocations, and knows within a second when it does not hear it any more."""

import asyncio
import json
import time
import uuid
from contextlib import suppress

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from signalbox_common import background, telemetry
from signalbox_common.bus.connection import Connection
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.contracts.streams import REVOCATIONS
from signalbox_common.errors import Unavailable
from signalbox_common.revoked import Revocations

log = telemetry.get_logger()

HEARTBEAT = 0.25
SILENCE = 0.9
"""Seconds without a word after which the consumer is made anew."""
_PAUSE = 0.1
_FORGOTTEN_BY_SERVER = 10.0
_NANOSECONDS = 1_000_000_000


class Follower:
    """One ephemeral ordered consumer, made anew whenever it falls silent or skips something."""

    def __init__(self, connection: Connection, revoked: Revocations, name: str) -> None:
        self._connection = connection
        self._revoked = revoked
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._expected = 1
        self._pending = 0
        self._spoken = 0.0
        self._broken = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="revocations")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except (NatsError, OSError, TimeoutError, Unavailable) as error:
                log.debug("revocations are followed anew", reason=repr(error)[:200])
            await asyncio.sleep(_PAUSE)

    async def _follow(self) -> None:
        await self._connection.wait_up()
        client = self._connection.client
        deliver = f"{self._connection.inbox_prefix}.{uuid.uuid4().hex}"
        self._broken.clear()
        self._expected = 1
        self._pending = 1  # at least, until the server says otherwise
        subscription = await client.subscribe(deliver, cb=self._on_message)
        try:
            pending = await self._create(deliver)
            if self._expected == 1:  # messages may overtake that answer, and know better
                self._pending = pending
            self._spoken = time.monotonic()
            if not self._pending:
                self._revoked.heard()
            while (left := self._spoken + SILENCE - time.monotonic()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._broken.wait(), left)
                    return
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _create(self, deliver: str) -> int:
        """Makes a consumer of the whole stream, which is short; answers how much there is."""
        name = f"{self._name}-{uuid.uuid4().hex[:8]}"
        config = {
            "name": name,
            "deliver_policy": "all",
            "deliver_subject": deliver,
            "filter_subject": REVOCATIONS.subjects[0],
            "ack_policy": "none",
            "replay_policy": "instant",
            "idle_heartbeat": int(HEARTBEAT * _NANOSECONDS),
            "inactive_threshold": int(_FORGOTTEN_BY_SERVER * _NANOSECONDS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        answer = await self._connection.client.request(
            f"$JS.API.CONSUMER.CREATE.{REVOCATIONS.name}.{name}.{REVOCATIONS.subjects[0]}",
            json.dumps({"stream_name": REVOCATIONS.name, "config": config, "action": "create"}).encode(),
            timeout=SILENCE,
        )
        said = json.loads(answer.data)
        if "error" in said:
            raise Unavailable(f"The stream of revocations says: {said['error'].get('description')}")
        return int(said["num_pending"])

    async def _on_message(self, message: Msg) -> None:
        headers = message.headers or {}
        if headers.get("Status") == "100":
            # A heartbeat tells what was sent last: whoever has not got that has missed something.
            if int(headers.get("Nats-Last-Consumer", "0")) != self._expected - 1:
                self._broken.set()
            else:
                self._hear()
            return
        meta = message.metadata
        if meta.sequence.consumer != self._expected:
            self._broken.set()
            return
        self._expected += 1
        self._pending = meta.num_pending
        try:
            self._revoked.take(AccessRevoked.model_validate_json(message.data), meta.timestamp)
        except ValidationError as error:
            log.warning("a revocation that cannot be read", errors=error.error_count())
        self._hear()

    def _hear(self) -> None:
        self._spoken = time.monotonic()
        if not self._pending:
            self._revoked.heard()
