"""Files on the bus, laid out as NATS object stores are, within deadlines and with our errors.

The library's own object store reads through consumers, which services may not make (see `stored`).
"""

import asyncio
import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from nats.errors import Error as NatsError
from nats.js.errors import APIError
from nats.js.errors import Error as JetStreamError

from signalbox_common import telemetry
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.stored import StreamReader
from signalbox_common.contracts.streams import Stream
from signalbox_common.errors import NotFound, SignalboxError, Unavailable

log = telemetry.get_logger()

PATIENCE = 20.0
CHUNK = 128 * 1024
_CONNECTION_PATIENCE = 2.0
_FULL = frozenset({10077, 10047})  # maximum bytes reached, insufficient resources
_PAGE = 64
_SILENT = "The object store does not answer."
_ROLLUP = {"Nats-Rollup": "sub"}
"""What is stored replaces what was stored under the same subject."""


class ObjectNotFound(NotFound):
    code = "object_not_found"
    detail = "There is no such file."


class ObjectDamaged(SignalboxError):
    code = "package_damaged"
    detail = "The file is not what it was."


class StorageFull(Unavailable):
    code = "storage_full"
    detail = "There is no room for more files."
    retry_after = 60


@dataclass(frozen=True)
class StoredObject:
    name: str
    size: int
    stored_at: datetime


@dataclass(frozen=True)
class _Description:
    """What is stored about a file, under its name."""

    name: str
    bucket: str
    nuid: str
    size: int
    chunks: int
    digest: str
    mtime: str
    deleted: bool = False
    options: dict[str, Any] = field(default_factory=lambda: {"max_chunk_size": CHUNK})

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Raises ObjectDamaged for what describes no file: others may write there, too."""
        try:
            there = json.loads(body)
            described = cls(
                name=str(there["name"]),
                bucket=str(there.get("bucket", "")),
                nuid=str(there["nuid"]),
                size=int(there.get("size", 0)),
                chunks=int(there.get("chunks", 0)),
                digest=str(there.get("digest", "")),
                mtime=str(there.get("mtime", "")),
                deleted=bool(there.get("deleted")),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ObjectDamaged from error
        if not described.nuid.isalnum():  # it becomes part of a subject
            raise ObjectDamaged
        return described


class Bucket:
    """One bucket of files, as far as our rights go."""

    def __init__(self, connection: Connection, stream: Stream) -> None:
        self._connection = connection
        self._stream = stream.name
        self._bucket = stream.name.removeprefix("OBJ_")
        self._reader = StreamReader(connection, stream)

    async def put(self, name: str, content: bytes) -> None:
        """Visible under its name when it is there as a whole."""
        async with self._answered():
            before = await self._described(name)
            described = _Description(
                name=name,
                bucket=self._bucket,
                nuid=uuid.uuid4().hex,
                size=len(content),
                chunks=-(-len(content) // CHUNK),
                digest=_digest(content),
                mtime=datetime.now(UTC).isoformat(),
            )
            try:
                for begin in range(0, len(content), CHUNK):
                    await self._store(self._chunks(described), content[begin : begin + CHUNK])
                await self._describe(described)
            except BaseException:
                with suppress(Exception):  # what is left of it is nobody's, and takes only room
                    await self._purge(self._chunks(described))
                raise
            if before is not None and not before.deleted:
                await self._purge(self._chunks(before))

    async def get(self, name: str) -> bytes:
        async with self._answered():
            described = await self._described(name)
            if described is None or described.deleted:
                raise ObjectNotFound
            content, position = bytearray(), 0
            while len(content) < described.size:
                page = await self._reader.after(self._chunks(described), position, _PAGE)
                if not page:
                    raise ObjectDamaged
                for chunk in page:
                    content += chunk.body
                position = page[-1].sequence
        if _digest(content) != described.digest:
            raise ObjectDamaged
        return bytes(content)

    async def delete(self, name: str) -> None:
        """Afterwards there is no such file, as there may have been none before."""
        async with self._answered():
            described = await self._described(name)
            if described is None or described.deleted:
                return
            await self._describe(
                _Description(
                    name=name,
                    bucket=self._bucket,
                    nuid=described.nuid,
                    size=0,
                    chunks=0,
                    digest="",
                    mtime=datetime.now(UTC).isoformat(),
                    deleted=True,
                )
            )
            await self._purge(self._chunks(described))

    async def all(self) -> list[StoredObject]:
        found: list[StoredObject] = []
        position = 0
        async with self._answered():
            while page := await self._reader.after(f"$O.{self._bucket}.M.>", position, _PAGE):
                position = page[-1].sequence
                for stored in page:
                    try:
                        described = _Description.decode(stored.body)
                    except ObjectDamaged:
                        log.warning("what describes no file", subject=stored.subject)
                        continue
                    if not described.deleted:
                        found.append(StoredObject(described.name, described.size, stored.stored_at))
        return found

    def _chunks(self, described: _Description) -> str:
        return f"$O.{self._bucket}.C.{described.nuid}"

    def _name(self, name: str) -> str:
        return f"$O.{self._bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    async def _described(self, name: str) -> _Description | None:
        stored = await self._reader.newest(self._name(name))
        return _Description.decode(stored.body) if stored is not None else None

    async def _describe(self, described: _Description) -> None:
        await self._store(self._name(described.name), json.dumps(asdict(described)).encode(), _ROLLUP)

    async def _store(self, subject: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        await self._connection.jetstream.publish(subject, body, stream=self._stream, headers=headers)

    async def _purge(self, subject: str) -> None:
        said = await self._connection.ask_jetstream(
            f"STREAM.PURGE.{self._stream}", json.dumps({"filter": subject}).encode(), patience=PATIENCE
        )
        if "error" in said:
            raise Unavailable(_SILENT)

    @asynccontextmanager
    async def _answered(self) -> AsyncIterator[None]:
        """A deadline around what is asked of the server, and our errors for what it says."""
        await self._connection.ready(_CONNECTION_PATIENCE)
        try:
            async with asyncio.timeout(PATIENCE):
                yield
        except APIError as error:
            if error.err_code in _FULL:
                raise StorageFull from error
            raise Unavailable(_SILENT) from error
        except (TimeoutError, JetStreamError, NatsError) as error:
            raise Unavailable(_SILENT) from error


def _digest(content: bytes | bytearray) -> str:
    return f"SHA-256={base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()}"
