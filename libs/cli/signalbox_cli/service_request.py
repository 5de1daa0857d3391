"""Requests to a service with the operator's rights."""

import hashlib
import json
from typing import TypeVar, cast

from nats.aio.client import Client

from signalbox_common.bus import headers as h
from signalbox_common.contracts.base import Ask, Failure, Query, Reply
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7

R = TypeVar("R", bound=Reply)
PATIENCE = 10.0


async def request(
    client: Client, asked: Query[R] | Ask[R], *, service: str | None = None, patience: float = PATIENCE
) -> R:
    """The answer; raises the error that the service refuses with."""
    headers = {}
    if isinstance(asked, Ask):
        public = json.dumps(asked.public_body(), sort_keys=True).encode()
        headers = {h.COMMAND_ID: str(uuid7()), h.DIGEST: hashlib.sha256(public).hexdigest()}
    message = await client.request(
        asked.subject_for(service), asked.encode(), timeout=patience, headers=headers
    )
    if (message.headers or {}).get(h.STATUS) != h.OK:
        raise SignalboxError.of(Failure.model_validate_json(message.data))
    return cast("R", type(asked).reply.model_validate_json(message.data))
