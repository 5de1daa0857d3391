"""Dead letters: look at them, hand them over again, or let them go."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.js.errors import APIError, NotFoundError

from signalbox_common.bus import headers as h
from signalbox_common.bus.durable import describe
from signalbox_common.cloudevents import MESSAGE_ID
from signalbox_common.contracts.base import Failure
from signalbox_common.contracts.operations import Redrive, RedriveResult
from signalbox_common.contracts.streams import COMMANDS, DEAD_LETTERS, letters_of
from signalbox_common.keys import uuid7
from signalbox_common.programs import OWNERS

REPLY_PATIENCE = 10.0
_NO_SUCH_MESSAGE = frozenset({10037, 10043, 10057})


class NoSuchLetter(Exception):
    """There is no dead letter of this number."""


@dataclass(frozen=True)
class Letter:
    number: int
    time: str
    about: dict[str, Any]
    body: bytes

    def summary(self) -> dict[str, Any]:
        return {"number": self.number, "time": self.time, **self.about}

    def full(self) -> dict[str, Any]:
        try:
            body: Any = json.loads(self.body)
        except ValueError:
            body = self.body.decode(errors="backslashreplace")
        return {**self.summary(), "body": body}


async def read_all(client: Client) -> AsyncIterator[Letter]:
    jetstream = client.jetstream(timeout=2)
    state = (await jetstream.stream_info(DEAD_LETTERS.name)).state
    number = state.first_seq
    while state.messages and number <= state.last_seq:
        try:
            letter = await _next(client, number)
        except NotFoundError:
            return
        yield letter
        number = letter.number + 1


async def read(client: Client, number: int) -> Letter:
    try:
        raw = await client.jetstream(timeout=2).get_msg(DEAD_LETTERS.name, number, direct=True)
    except NotFoundError as error:
        raise NoSuchLetter(f"there is no dead letter {number}") from error
    return _letter(raw)


async def _next(client: Client, number: int) -> Letter:
    raw = await client.jetstream(timeout=2).get_msg(
        DEAD_LETTERS.name, number, subject="dlq.>", direct=True, next=True
    )
    return _letter(raw)


def _letter(raw: Any) -> Letter:
    headers = dict(raw.headers or {})
    return Letter(
        number=int(headers.get("Nats-Sequence", raw.seq or 0)),
        time=str(headers.get("Nats-Time-Stamp", "")),
        about=describe(headers),
        body=raw.data or b"",
    )


async def redrive(client: Client, number: int) -> RedriveResult | Failure:
    """Hands it to its owner again; what was handled leaves the dead letters."""
    letter = await read(client, number)
    owner = _owner(letter)
    reply_to = f"reply.operator{uuid.uuid4().hex[:12]}.{uuid.uuid4().hex}"
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def on_reply(message: Any) -> None:
        if not answered.done():
            answered.set_result(message)

    for subject in (f"{owner}.{reply_to}", reply_to):
        await client.subscribe(subject, cb=on_reply)
    await client.jetstream(timeout=5).publish(
        Redrive.subject_for(owner),
        Redrive(sequence=number).encode(),
        stream=COMMANDS.name,
        headers={
            MESSAGE_ID: uuid.uuid4().hex,
            h.COMMAND_ID: str(uuid7()),
            h.REPLY_TO: reply_to,
        },
    )
    message = await asyncio.wait_for(answered, REPLY_PATIENCE)
    if (message.headers or {}).get(h.STATUS) != h.OK:
        return Failure.model_validate_json(message.data)
    result = RedriveResult.model_validate_json(message.data)
    if result.outcome != "failed":
        await drop(client, number)
    return result


async def drop(client: Client, number: int) -> None:
    letter = await read(client, number)
    await _delete(client, DEAD_LETTERS.name, number)
    with suppress(NoSuchLetter):  # of what comes from outside, no service has a copy
        await _delete(client, letters_of(_owner(letter)).name, number)


async def _delete(client: Client, stream: str, number: int) -> None:
    try:
        await client.jetstream(timeout=2).delete_msg(stream, number)
    except APIError as error:
        if error.err_code not in _NO_SUCH_MESSAGE:
            raise
        raise NoSuchLetter(f"there is no dead letter {number}") from error


def _owner(letter: Letter) -> str:
    owner = str(letter.about["consumer"]).split("-")[0]
    if owner not in OWNERS:
        raise NoSuchLetter(f"dead letter {letter.number} names no owner")
    return owner
