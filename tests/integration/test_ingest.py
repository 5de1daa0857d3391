"""What services outside may send to the bus itself, where nothing is checked before it arrives."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from signalbox_common.bus import headers as h
from signalbox_common.contracts.streams import MAX_PAYLOAD
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.live import fanout

pytestmark = pytest.mark.fresh  # whole streams and tables are counted

PROJECT = "00000000-0000-7000-8000-00000000000a"
PLACE = f"ext.{PROJECT}".encode()
WHERE = PLACE + b".ci.done"
STRUCTURED = b"Content-Type: application/cloudevents+json"
GOOD = {"specversion": "1.0", "id": "1", "source": "/ci", "type": "ext.ci.done"}
INJECTED = GOOD | {"x\r\nNats-Expected-Last-Sequence: 999999\r\ny": 1}
DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
LONG_NUMBER = json.dumps(GOOD)[:-1].encode() + b',"data":' + b"9" * 6_000 + b"}"


class Wire:
    """A client that sends what no library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def publish(self, subject: bytes, body: bytes, head: bytes | None = None) -> None:
        if head is None:
            self._writer.write(b"PUB %b %d\r\n%b\r\n" % (subject, len(body), body))
        else:
            self._writer.write(
                b"HPUB %b %d %d\r\n%b%b\r\n" % (subject, len(head), len(head) + len(body), head, body)
            )
        self._writer.write(b"PING\r\n")
        await self._writer.drain()
        async with asyncio.timeout(5):
            while (line := await self._reader.readline()) != b"PONG\r\n":
                assert line.startswith(b"INFO"), line


@asynccontextmanager
async def wire(installation: Installation) -> AsyncIterator[Wire]:
    servers = installation.servers
    host, _, port = servers.endpoints.nats.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        await reader.readline()
        who = {"user": "admin", "pass": servers.credentials.passwords["nats"]["admin"]}
        options = {"verbose": False, "pedantic": False, "headers": True, "protocol": 1}
        writer.write(b"CONNECT " + json.dumps(who | options).encode() + b"\r\n")
        yield Wire(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


def head(*lines: bytes, first: bytes = b"NATS/1.0") -> bytes:
    return b"\r\n".join((first, *lines)) + b"\r\n\r\n"


POISON: dict[str, tuple[bytes, bytes, bytes | None]] = {
    "a subject that is no UTF-8": (PLACE + b".\xff\xfe", b"{}", None),
    "a subject as long as one can be": (PLACE + b"." + b"a" * 3_900, b"{}", None),
    "a body as large as one can be": (WHERE, b"x" * (MAX_PAYLOAD - 10), None),
    "a header that is much too long": (WHERE, b"{}", head(b"ce-a: " + b"x" * 60_000)),
    "many headers": (WHERE, b"{}", head(*(b"ce-%d: x" % n for n in range(4_000)))),
    "bytes in headers": (WHERE, b"{}", head(b"ce-id: \xff\xfe", b"content-type: \xff")),
    "odd names of headers": (WHERE, b"{}", head(b"ce-(a): b", "ce-ä: b".encode())),
    "a folded header": (WHERE, b"{}", head(b"ce-id: a", b"\tfolded: b")),
    "a word of the server": (WHERE, b"{}", head(first=b"NATS/1.0 409 Consumer Deleted")),
    "a header like a word of the server": (WHERE, b"{}", head(b"Status: 503")),
    "headers that are none": (WHERE, b"{}", b"hello"),
    "headers that end too early": (WHERE, b"{}", b"NATS/1.0\r\n"),
    "headers in a name": (WHERE, json.dumps(INJECTED).encode(), head(STRUCTURED)),
    "very deep": (WHERE, DEEP, head(STRUCTURED)),
    "a very long number": (WHERE, LONG_NUMBER, head(STRUCTURED)),
    "half a character": (WHERE, json.dumps(GOOD | {"data": "\ud800"}).encode(), head(STRUCTURED)),
}
"""What is wrong, with its subject, body and headers."""


async def test_nothing_keeps_what_is_behind_it_waiting(installation: Installation) -> None:
    async with fanout(installation) as process, wire(installation) as outside:
        for subject, body, headers in POISON.values():
            await outside.publish(subject, body, headers)
        await outside.publish(WHERE, json.dumps(GOOD | {"data": "behind"}).encode(), head(STRUCTURED))

        async def settled() -> bool:
            async with installation.nats() as client:
                info = await client.jetstream().consumer_info("EXTERNAL", "fanout-ingest")
            return (info.num_pending, info.num_ack_pending) == (0, 0)

        async def told() -> list[Any]:
            return await installation.messages("EVENTS", f"evt.{PROJECT}.>")

        assert [json.loads(each.data) for each in await eventually(told, within=30)] == ["behind"]
        await eventually(settled, within=30, what="everything is settled")
        assert process.returncode is None
        letters = await installation.messages("DEAD_LETTERS")
        assert len(letters) == len(POISON)
        for letter in letters:
            assert {h.REASON, h.ERROR, h.ORIGINAL_SUBJECT} <= set(letter.headers)


async def test_a_time_is_one_that_everybody_reads(installation: Installation) -> None:
    good = ["2026-01-02T03:04:05Z", "2026-01-02t03:04:05.123456789+02:00"]
    bad = ["20260102T030405Z", "2026-W01-1T00:00:00Z", "2026-01-02T03:04Z", "0001-01-01T00:00:00+14:00", "no"]
    async with fanout(installation), wire(installation) as outside:
        for number, time in enumerate(bad + good):
            told = GOOD | {"id": str(number), "time": time}
            await outside.publish(WHERE, json.dumps(told).encode(), head(STRUCTURED))

        async def all_told() -> list[Any]:
            found = await installation.messages("EVENTS")
            return found if len(found) >= len(good) else []

        events = await eventually(all_told, within=30)
        assert [each.headers["ce-time"] for each in events] == good
        assert len(await installation.messages("DEAD_LETTERS")) == len(bad)
