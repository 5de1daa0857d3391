"""What the programs of runs have said, and what runs have left."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

FIRST, LAST = 4 * 1024 * 1024, 12 * 1024 * 1024
"""Bytes of a log that are kept, at its beginning and at its end."""
_SLACK = 1024 * 1024
_PART = 1024 * 1024

_ADD = text(
    "insert into tasks.log (run_id, begin, step, stream, content) "
    "values (:run, :begin, :step, :stream, :content) on conflict do nothing"
)
_CUT = text("delete from tasks.log where run_id = :run and begin >= :first and begin < :last")
_READ = text(
    "select begin, step, stream, content from tasks.log "
    "where run_id = :run and begin >= coalesce("
    "(select max(begin) from tasks.log where run_id = :run and begin <= :offset), 0) "
    "order by begin limit :limit"
)
_KEEP = text(
    "insert into tasks.artifacts (run_id, name, media_type, size, sha256, created_at) "
    "values (:run, :name, :media_type, :size, :sha256, tasks.clock()) on conflict do nothing "
    "returning run_id"
)
_KEEP_PART = text(
    "insert into tasks.artifact_parts (run_id, name, begin, content) values (:run, :name, :begin, :content)"
)
_ARTIFACTS = text(
    "select name, media_type, size, sha256, created_at from tasks.artifacts where run_id = :run order by name"
)
_PARTS = text(
    "select begin, content from tasks.artifact_parts where run_id = :run and name = :name "
    "and begin + length(content) > :offset order by begin limit 1"
)


@dataclass(frozen=True)
class LogPiece:
    begin: int
    step: str
    stream: int
    """As frames number them."""
    content: bytes

    @property
    def end(self) -> int:
        return self.begin + len(self.content)


@dataclass(frozen=True)
class KeptArtifact:
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime


async def add(transaction: Transaction, run: uuid.UUID, pieces: Sequence[LogPiece]) -> None:
    """At the end of it; of what is between its first and its last part, nothing is kept."""
    rows = [
        {
            "run": run,
            "begin": each.begin,
            "step": each.step,
            "stream": each.stream,
            "content": each.content,
        }
        for each in pieces
    ]
    await transaction.connection.execute(_ADD, rows)
    begin, end = pieces[0].begin, pieces[-1].end
    if end > FIRST + LAST and begin // _SLACK != end // _SLACK:
        await transaction.connection.execute(_CUT, {"run": run, "first": FIRST, "last": end - LAST})


async def read(connection: AsyncConnection, run: uuid.UUID, offset: int, limit: int = 8) -> list[LogPiece]:
    """From there on, as far as it is kept; the first may begin before."""
    rows = await connection.execute(_READ, {"run": run, "offset": offset, "limit": limit})
    found = [LogPiece(row.begin, row.step, row.stream, bytes(row.content)) for row in rows]
    return [each for each in found if each.end > offset]


async def between(connection: AsyncConnection, run: uuid.UUID, begin: int, end: int) -> bytes:
    """What was said from there to there, as far as it is kept; the same, whatever is said later."""
    said = bytearray()
    while begin < end and (pieces := await read(connection, run, begin)):
        for piece in pieces:
            if piece.begin < end:
                said += piece.content[max(0, begin - piece.begin) : end - piece.begin]
        begin = pieces[-1].end
    return bytes(said)


async def keep(
    transaction: Transaction, run: uuid.UUID, name: str, media_type: str, sha256: str, content: bytes
) -> None:
    """Once: what is kept under a name stays."""
    about = {"run": run, "name": name, "media_type": media_type, "size": len(content), "sha256": sha256}
    if (await transaction.connection.execute(_KEEP, about)).first() is None:
        return
    for begin in range(0, len(content), _PART):
        part = {"run": run, "name": name, "begin": begin, "content": content[begin : begin + _PART]}
        await transaction.connection.execute(_KEEP_PART, part)


async def artifacts(connection: AsyncConnection, run: uuid.UUID) -> list[KeptArtifact]:
    rows = await connection.execute(_ARTIFACTS, {"run": run})
    return [KeptArtifact(row.name, row.media_type, row.size, row.sha256, row.created_at) for row in rows]


async def part(connection: AsyncConnection, run: uuid.UUID, name: str, offset: int) -> bytes:
    """Some bytes from there on; none at the end."""
    row = (await connection.execute(_PARTS, {"run": run, "name": name, "offset": offset})).first()
    return bytes(row.content)[offset - row.begin :] if row is not None else b""
