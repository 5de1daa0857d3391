"""Follows the stream of events itself, with an operator's rights."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import Error as JetStreamError

from signalbox_cli.live.seen import Seen
from signalbox_cli.operator import Operator
from signalbox_common.contracts.streams import EVENTS

BATCH = 200
PATIENCE = 2.0
PAUSE = 0.5
FORGOTTEN_AFTER = 30.0


async def follow_bus(
    operator: Operator,
    subject: str,
    *,
    since: datetime | None = None,
    after: int | None = None,
    ends: bool = False,
) -> AsyncIterator[Seen]:
    """What a subject holds since then, and what comes; `ends` with what is there already.

    Connects again by itself, also while NATS is away.
    """
    following = _Following(operator, subject, since, after)
    while True:
        try:
            async for seen in following.connected(ends=ends):
                yield seen
        except (NatsError, JetStreamError, OSError, TimeoutError):
            if ends:
                raise
            await asyncio.sleep(PAUSE)
        else:
            return


class _Following:
    def __init__(self, operator: Operator, subject: str, since: datetime | None, after: int | None) -> None:
        self._operator = operator
        self._subject = subject
        self._since = since
        self._after = after

    async def connected(self, *, ends: bool) -> AsyncIterator[Seen]:
        async with self._operator.nats() as client:
            jetstream = client.jetstream(timeout=PATIENCE)
            info = await jetstream.stream_info(EVENTS.name)
            epoch = (info.config.metadata or {}).get("signalbox-epoch", "")
            if self._after is None and self._since is None:
                self._after = info.state.last_seq
            pulling = await jetstream.pull_subscribe(
                self._subject, stream=EVENTS.name, config=self._config(), inbox_prefix=b"_INBOX.operator."
            )
            left = (await pulling.consumer_info()).num_pending or 0
            while not ends or left > 0:
                try:
                    messages = await pulling.fetch(BATCH, timeout=PATIENCE)
                except NatsTimeout:
                    if not client.is_connected:
                        raise
                    continue
                for message in messages:
                    left -= 1
                    self._after = message.metadata.sequence.stream
                    yield Seen(f"{epoch}:{self._after}", _event(message))

    def _config(self) -> ConsumerConfig:
        begin: dict[str, Any] = {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE}
        if self._after is not None:
            begin["opt_start_seq"] = self._after + 1
        else:
            begin = {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": self._since}
        return ConsumerConfig(
            ack_policy=AckPolicy.NONE, inactive_threshold=FORGOTTEN_AFTER, mem_storage=True, **begin
        )


def _event(message: Any) -> dict[str, Any]:
    """What stands in it, as it stands there: an operator looks at what was sent."""
    headers = message.headers or {}
    _, project, kind = message.subject.split(".", 2)
    try:
        data = json.loads(message.data) if message.data else None
    except ValueError:
        data = message.data.decode(errors="backslashreplace")
    told = {name: headers.get(f"ce-{name}") for name in ("id", "source", "time", "subject", "operation")}
    return {"type": kind, "project": project if project != "_" else None, **told, "data": data}
