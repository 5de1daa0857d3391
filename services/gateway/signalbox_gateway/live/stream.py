"""The stream `EVENTS` itself: for recovery of what is older than the history in Redis, and for pages."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from signalbox_common.bus.connection import Connection
from signalbox_common.contracts.streams import EVENTS
from signalbox_common.errors import Unavailable

PATIENCE = 5.0
MAX_BYTES = 1024 * 1024
"""Of one batch."""
_END, _NOTHING = "204", "404"


@dataclass(frozen=True)
class StreamMessage:
    sequence: int
    subject: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class StreamState:
    """What the stream holds at the moment."""

    epoch: str
    first: int
    last: int


class StreamReader:
    """Direct gets in batches: no consumer is needed, and any server that holds the stream may answer."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def state(self) -> StreamState:
        await self._connection.ready(PATIENCE)
        try:
            answer = await self._connection.client.request(
                f"$JS.API.STREAM.INFO.{EVENTS.name}", b"", timeout=PATIENCE
            )
        except (TimeoutError, NatsError) as error:
            raise Unavailable("The stream of events does not answer.") from error
        said = json.loads(answer.data)
        if "error" in said:
            raise Unavailable("The stream of events does not answer.")
        metadata = said["config"].get("metadata") or {}
        held = said["state"]
        return StreamState(metadata.get("signalbox-epoch", "0" * 16), held["first_seq"], held["last_seq"])

    async def after(self, subject: str, sequence: int, limit: int) -> Sequence[StreamMessage]:
        """The next messages of a subject, oldest first."""
        await self._connection.ready(PATIENCE)
        client = self._connection.client
        inbox = client.new_inbox()
        arrived: asyncio.Queue[Msg] = asyncio.Queue()
        subscription: Subscription | None = None
        try:
            subscription = await client.subscribe(inbox, cb=arrived.put)
            question = {
                "seq": sequence + 1,
                "next_by_subj": subject,
                "batch": limit,
                "max_bytes": MAX_BYTES,
            }
            await client.publish(
                f"$JS.API.DIRECT.GET.{EVENTS.name}", json.dumps(question).encode(), reply=inbox
            )
            return await self._collect(arrived)
        except (TimeoutError, NatsError) as error:
            raise Unavailable("The stream of events does not answer.") from error
        finally:
            if subscription is not None:
                with suppress(NatsError):  # a connection that is gone has forgotten it
                    await subscription.unsubscribe()

    @staticmethod
    async def _collect(arrived: "asyncio.Queue[Msg]") -> list[StreamMessage]:
        found: list[StreamMessage] = []
        while True:
            message = await asyncio.wait_for(arrived.get(), PATIENCE)
            headers = dict(message.headers or {})
            # An event may have a header that looks like a word of the server, which numbers only events.
            if "Nats-Sequence" not in headers:
                if headers.get("Status") in (_END, _NOTHING):
                    return found
                raise Unavailable("The stream of events does not answer.")
            found.append(
                StreamMessage(int(headers["Nats-Sequence"]), headers["Nats-Subject"], headers, message.data)
            )
