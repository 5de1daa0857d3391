"""Follows the server-sent events of a gateway."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import ValidationError

from signalbox_cli.client import ForeignAnswer
from signalbox_cli.live.publication import Publication
from signalbox_common.contracts.base import Failure
from signalbox_common.errors import SignalboxError

SILENCE = 45.0
"""Seconds without a word after which a connection is given up; the server says something every fifteen."""
PAUSE, LONGEST_PAUSE = 0.1, 5.0
PAGE = 500
REMEMBERED = 10_000
RESYNC = "resync"


class ResyncRequired(Exception):
    """Events of a stream without a project were left out: ask for those of each project in pages."""

    def __init__(self, after: str | None, at: str) -> None:
        super().__init__(f"events after {after} were left out; the stream goes on after {at}")
        self.after = after
        self.at = at


@dataclass(frozen=True)
class Block:
    """One server-sent event; without data it only says where the stream is."""

    name: str | None
    id: str | None
    data: str | None


class Parser:
    """Bytes in, events out; one counts only when its empty line has come."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Block]:
        *whole, self._rest = (self._rest + chunk).split(b"\n\n")
        return [_block(text.decode()) for text in whole]


def _block(text: str) -> Block:
    fields: dict[str, str] = {}
    data: list[str] = []
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif name:
            fields[name] = value.removeprefix(" ")
    return Block(fields.get("event"), fields.get("id"), "\n".join(data) if data else None)


async def follow(
    client: httpx.AsyncClient,
    *,
    project: str | None = None,
    operation: str | None = None,
    types: Sequence[str] = (),
    after: str | None = None,
) -> AsyncGenerator[Publication, None]:
    """From a position on, or from now; connects again by itself, and fetches what a stream left out.

    Each once, and in order but for what comes late. Raises what is refused for good, and `ResyncRequired`
    where it does not know which projects to ask.
    """
    follower = _GatewayFollower(client, project, operation, types, after)
    pause = PAUSE
    while True:
        try:
            async with aclosing(follower.connected()) as each:
                async for publication in each:
                    pause = PAUSE
                    if publication is not None:
                        yield publication
        except httpx.TransportError:
            pass  # a restart, or a network that comes back
        except SignalboxError as error:
            if error.final:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


class _GatewayFollower:
    def __init__(
        self,
        client: httpx.AsyncClient,
        project: str | None,
        operation: str | None,
        types: Sequence[str],
        after: str | None,
    ) -> None:
        self._client = client
        self._project = project
        self._operation = operation
        self._types = ",".join(types)
        self._at = after
        self._given: dict[str, None] = {}
        """The last positions that were given out: what is told late is fetched with all around it."""

    async def connected(self) -> AsyncGenerator[Publication | None, None]:
        """One connection; None where the server has only said where it is."""
        path, query = "/api/v1/sse", {"project": self._project, "operation": self._operation}
        wanted = {name: value for name, value in (query | {"types": self._types}).items() if value}
        headers = {"Last-Event-ID": self._at} if self._at is not None else {}
        timeout = httpx.Timeout(30, read=SILENCE)
        parser = Parser()
        async with self._client.stream(
            "GET", path, params=wanted, headers=headers, timeout=timeout
        ) as answer:
            await _check(answer)
            async for chunk in answer.aiter_bytes():
                for block in parser.feed(chunk):
                    async with aclosing(self._taken(block)) as each:
                        async for publication in each:
                            yield publication

    async def _taken(self, block: Block) -> AsyncGenerator[Publication | None, None]:
        if block.name == RESYNC:
            said = json.loads(block.data or "{}")
            async with aclosing(self._pages(said["after"], said["at"])) as each:
                async for publication in each:
                    yield publication
        if block.id is not None:
            self._at = block.id
        if block.name is None or block.name == RESYNC:
            yield None
        elif block.data is not None and block.id is not None and self._is_new(block.id):
            yield Publication(block.id, json.loads(block.data))

    def _is_new(self, position: str) -> bool:
        if position in self._given:
            return False
        self._given[position] = None
        if len(self._given) > REMEMBERED:
            del self._given[next(iter(self._given))]
        return True

    async def _pages(self, after: str | None, until: str) -> AsyncGenerator[Publication, None]:
        if after == until:
            return
        if self._project is None:
            raise ResyncRequired(after, until)
        last = _number(until)
        while True:
            query: dict[str, Any] = {"limit": PAGE, "types": self._types or None, "after": after}
            answer = await self._client.get(
                f"/api/v1/projects/{self._project}/events",
                params={name: value for name, value in query.items() if value is not None},
            )
            if answer.status_code == 410 and after is not None:
                after = None  # older than what is kept: what is kept is all there is
                continue
            await _check(answer)
            page = answer.json()
            for item in page["items"]:
                position = item.pop("position")
                if _number(position) > last:
                    return
                wanted = self._operation is None or item["operation"] == self._operation
                if wanted and self._is_new(position):
                    self._at = position
                    yield Publication(position, item)
            before, after = after, page["nextCursor"]
            # A page may be empty because nothing on it was wanted: only its cursor tells how far it went.
            if _number(page["nextCursor"]) >= last or after == before:
                return


def _number(position: str) -> int:
    return int(position.rpartition(":")[2])


async def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    await answer.aread()
    try:
        raise SignalboxError.of(Failure.model_validate_json(answer.content))
    except ValidationError:
        raise ForeignAnswer(answer, str(answer.status_code)) from None
