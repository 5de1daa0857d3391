"""Follows the stream of events itself, with an operator's rights."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo

from signalbox_cli.live.publication import Publication
from signalbox_cli.operator import INBOX, Operator
from signalbox_common.bus.pull import ConsumerLost, LongPoll
from signalbox_common.contracts.streams import EVENTS

BATCH = 200
PATIENCE = 2.0
PAUSE = 0.2
HEARTBEAT = 1.0
FORGOTTEN_AFTER = 30.0


async def follow_bus(
    operator: Operator,
    subject: str,
    *,
    since: datetime | None = None,
    after: int | None = None,
    ends: bool = False,
) -> AsyncGenerator[Publication, None]:
    """What a subject holds since then, and what comes; `ends` with what is there already.

    Raises what keeps it from beginning; from then on it connects again by itself, also while NATS is away
    or comes back at another address.
    """
    follower = _BusFollower(operator, subject, since, after)
    while True:
        try:
            async with aclosing(follower.connected(ends=ends)) as each:
                async for publication in each:
                    yield publication
        except (NatsError, OSError, TimeoutError):
            if ends or not follower.begun:
                raise
            await asyncio.sleep(PAUSE)
        else:
            return


class _BusFollower:
    def __init__(self, operator: Operator, subject: str, since: datetime | None, after: int | None) -> None:
        self.begun = False
        self._operator = operator
        self._subject = subject
        self._since = since
        self._after = after
        self._epoch: str | None = None

    async def connected(self, *, ends: bool) -> AsyncGenerator[Publication, None]:
        async with self._operator.nats() as client:
            jetstream = client.jetstream(timeout=PATIENCE)
            self._find_place(await jetstream.stream_info(EVENTS.name))
            consumer = await jetstream.add_consumer(EVENTS.name, config=self._config())
            self.begun = True
            expected = 1
            async with LongPoll(
                client,
                inbox_prefix=INBOX,
                stream=EVENTS.name,
                consumer=consumer.name,
                room=BATCH,
                heartbeat=None if ends else HEARTBEAT,
                no_wait=ends,
            ) as poll:
                async for messages in poll.batches():
                    for message in messages:
                        if message.metadata.sequence.consumer != expected:
                            raise ConsumerLost("something was skipped")
                        expected += 1
                        self._after = message.metadata.sequence.stream
                        yield Publication(f"{self._epoch}:{self._after}", _event(message))
                        if ends and not message.metadata.num_pending:
                            return

    def _find_place(self, info: StreamInfo) -> None:
        """Where it goes on; all of a stream that has begun anew is new."""
        epoch = (info.config.metadata or {}).get("signalbox-epoch", "")
        if self._epoch not in (None, epoch):
            self._after = 0
        self._epoch = epoch
        last = info.state.last_seq
        if self._after is not None:
            self._after = min(self._after, last)
        elif self._since is None:
            self._after = last

    def _config(self) -> ConsumerConfig:
        begin: dict[str, Any] = {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": self._since}
        if self._after is not None:
            begin = {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": self._after + 1}
        return ConsumerConfig(
            name=f"tail-{uuid.uuid4().hex}",
            filter_subject=self._subject,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=FORGOTTEN_AFTER,
            mem_storage=True,
            num_replicas=1,
            **begin,
        )


def _event(message: Msg) -> dict[str, Any]:
    """What stands in it, as it stands there: an operator looks at what was sent."""
    headers = message.headers or {}
    _, project, kind = message.subject.split(".", 2)
    try:
        data = json.loads(message.data) if message.data else None
    except (ValueError, RecursionError):
        data = message.data.decode(errors="backslashreplace")
    told = {name: headers.get(f"ce-{name}") for name in ("id", "source", "time", "subject", "operation")}
    return {"type": kind, "project": project if project != "_" else None, **told, "data": data}
