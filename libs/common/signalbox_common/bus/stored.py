"""What a stream holds, read with direct gets, for which nobody has to make a consumer.

Whoever may make a consumer chooses where its messages go, and the server does not ask whether they may
publish there. So services make none: they read streams this way, with a `StreamTail`, or through the
durable consumers that provisioning has made.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from signalbox_common.bus.connection import Connection
from signalbox_common.contracts.streams import Stream
from signalbox_common.errors import Unavailable

PATIENCE = 5.0
MAX_BYTES = 1024 * 1024
"""Of one batch."""
_END, _NOTHING = "204", "404"
_SEQUENCE, _SUBJECT, _TIME = "Nats-Sequence", "Nats-Subject", "Nats-Time-Stamp"


@dataclass(frozen=True)
class StoredMessage:
    """A message with what the server says about it; of two headers of one name, the server's counts."""

    sequence: int
    subject: str
    headers: dict[str, str]
    body: bytes

    @property
    def stored_at(self) -> datetime:
        return datetime.fromisoformat(self.headers[_TIME])

    @classmethod
    def of(cls, message: Msg) -> Self | None:
        """None for a word of the server: it numbers only what it has stored."""
        headers = dict(message.headers or {})
        if _SEQUENCE not in headers:
            return None
        return cls(int(headers[_SEQUENCE]), headers[_SUBJECT], headers, message.data)


@dataclass(frozen=True)
class StreamState:
    """What the stream holds at the moment."""

    epoch: str
    first: int
    last: int


class StreamReader:
    """Pages of one stream, from any position on."""

    def __init__(self, connection: Connection, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream
        self._gone = f"The stream {stream.name} does not answer."

    async def state(self) -> StreamState:
        said = await self._connection.ask_jetstream(f"STREAM.INFO.{self._stream.name}", patience=PATIENCE)
        if "error" in said:
            raise Unavailable(self._gone)
        metadata = said["config"].get("metadata") or {}
        held = said["state"]
        return StreamState(metadata.get("signalbox-epoch", "0" * 16), held["first_seq"], held["last_seq"])

    async def after(self, subject: str, sequence: int, limit: int) -> Sequence[StoredMessage]:
        """The next messages of a subject, oldest first."""
        question: dict[str, Any] = {
            "seq": sequence + 1,
            "next_by_subj": subject,
            "batch": limit,
            "max_bytes": MAX_BYTES,
        }
        return await self._ask(question)

    async def at(self, sequence: int) -> StoredMessage | None:
        """The message of that number; None where the stream has none, or has it no more."""
        found = await self._ask({"seq": sequence, "batch": 1})
        return found[0] if found and found[0].sequence == sequence else None

    async def newest(self, subject: str) -> StoredMessage | None:
        """The newest message of one subject; None where nothing was ever stored there, or nothing is left."""
        found = await self._ask({"multi_last": [subject]})
        return found[0] if found else None

    async def _ask(self, question: dict[str, Any]) -> list[StoredMessage]:
        await self._connection.ready(PATIENCE)
        client = self._connection.client
        inbox = client.new_inbox()
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        subscription: Subscription | None = None
        try:
            subscription = await client.subscribe(inbox, cb=arrived.put)
            await client.publish(
                f"$JS.API.DIRECT.GET.{self._stream.name}", json.dumps(question).encode(), reply=inbox
            )
            return await self._collect(arrived)
        except (TimeoutError, NatsError) as error:
            raise Unavailable(self._gone) from error
        finally:
            if subscription is not None:
                with suppress(NatsError):  # a connection that is gone has forgotten it
                    await subscription.unsubscribe()

    async def _collect(self, arrived: "asyncio.Queue[Msg]") -> list[StoredMessage]:
        found: list[StoredMessage] = []
        while True:
            message = await asyncio.wait_for(arrived.get(), PATIENCE)
            stored = StoredMessage.of(message)
            if stored is not None:
                found.append(stored)
            elif (message.headers or {}).get("Status") in (_END, _NOTHING):
                return found
            else:
                raise Unavailable(self._gone)
