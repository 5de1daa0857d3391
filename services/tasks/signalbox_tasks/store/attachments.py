"""Files that people give to tasks, in parts, and what those of each project take.

Who changes both locks an attachment first, and then the space of its project.
"""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.contracts.tasks import NewAttachment
from signalbox_common.db import Transaction

PART = 1024 * 1024
OVERHEAD = 4096
"""Bytes that each counts beyond its own, so that empty ones have a bound as well."""

_NOTE_SPACE = text(
    "insert into tasks.attachment_space (project_id, bytes) values (:project, 0) on conflict do nothing"
)
_TAKE = text(
    "update tasks.attachment_space set bytes = bytes + :taken "
    "where project_id = :project and bytes + :taken <= :most returning bytes"
)
_GIVE_BACK = text("update tasks.attachment_space set bytes = bytes - :given where project_id = :project")
_TAKEN = text("select bytes from tasks.attachment_space where project_id = :project")
_UNTOLD = text(
    "select attachment_space.project_id, attachment_space.bytes from tasks.attachment_space "
    "left join tasks.storage on storage.project_id = attachment_space.project_id and service = 'tasks' "
    "where attachment_space.bytes <> coalesce(storage.bytes, 0) limit 1000"
)
_BEGIN = text(
    "insert into tasks.attachments (id, project_id, name, media_type, created_at) "
    "values (:id, :project, :name, :media_type, tasks.clock())"
)
_GROW = text(
    "update tasks.attachments set size = size + :more where id = :id and sha256 is null "
    "returning size - :more as begin"
)
_ADD_PART = text(
    "insert into tasks.attachment_parts (attachment_id, begin, content) values (:id, :begin, :content)"
)
_END_UPLOAD = text(
    "insert into tasks.attachment_uploads (id, attachment_id) "
    "select cast(:upload as uuid), id from tasks.attachments where id = :id and sha256 is null "
    "on conflict do nothing returning id"
)
_END = text(
    "update tasks.attachments set sha256 = :sha256 where id = :id and sha256 is null "
    "returning id, project_id, name, media_type, size, sha256, created_at"
)
_SELECT = "select id, project_id, name, media_type, size, sha256, created_at from tasks.attachments"
_WHOLE = f"{_SELECT} where sha256 is not null"
_GET = text(f"{_WHOLE} and id = :id and project_id = :project")
_UPLOADED = text(
    f"{_SELECT} where id = "  # noqa: S608 - words of ours
    "(select attachment_id from tasks.attachment_uploads where id = :upload)"
)
_PLACE = text("select project_id from tasks.attachments where id = :id and sha256 is not null")
_HOLD = text(f"{_WHOLE} and project_id = :project and id = any(cast(:ids as uuid[])) for key share")
_PARTS = text(
    "select begin, content from tasks.attachment_parts where attachment_id = :id "
    "and begin + length(content) > :offset order by begin limit 1"
)
_LOCK = text(
    "select id from tasks.attachments where project_id = :project and id = any(cast(:ids as uuid[])) "
    "order by id for update"
)
_IN_USE = (
    "(exists (select from tasks.task_attachments where attachment_id = attachments.id) "
    "or exists (select from tasks.schedule_attachments where attachment_id = attachments.id) "
    "or exists (select from tasks.trigger_attachments where attachment_id = attachments.id))"
)
_REMOVE = text(
    f"delete from tasks.attachments where id = any(cast(:ids as uuid[])) and not {_IN_USE} "  # noqa: S608 - words of ours
    "returning size"
)
_UNUSED = text(
    "select id, project_id from tasks.attachments "  # noqa: S608 - words of ours
    "where (created_at < tasks.clock() - interval '1 day' "
    "or (sha256 is null and created_at < tasks.clock() - interval '1 hour') "
    "or project_id in (select project_id from tasks.projects where deleted_at is not null)) "
    f"and not {_IN_USE} limit 1000"
)


@dataclass(frozen=True)
class KeptAttachment:
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    media_type: str
    size: int
    sha256: str
    created_at: datetime


def _kept(row: Row[Any]) -> KeptAttachment:
    return KeptAttachment(
        row.id, row.project_id, row.name, row.media_type, row.size, row.sha256, row.created_at
    )


def _one(row: Row[Any] | None) -> KeptAttachment | None:
    return _kept(row) if row is not None else None


# -- taken in ----------------------------------------------------------------------------------------------


async def begin(
    transaction: Transaction, project: uuid.UUID, attachment: uuid.UUID, about: NewAttachment, most: int
) -> bool:
    """A draft, which nobody sees until it is whole; False where there is no room for another one."""
    await transaction.connection.execute(_NOTE_SPACE, {"project": project})
    row = {"id": attachment, "project": project, "name": about.name, "media_type": about.media_type}
    await transaction.connection.execute(_BEGIN, row)
    return await _taken(transaction, project, OVERHEAD, most)


async def add(
    transaction: Transaction, project: uuid.UUID, attachment: uuid.UUID, content: bytes, most: int
) -> bool | None:
    """At the end of a draft; False where there is no room for it, None where the draft is gone."""
    row = (await transaction.connection.execute(_GROW, {"id": attachment, "more": len(content)})).first()
    if row is None:
        return None
    if not await _taken(transaction, project, len(content), most):
        return False
    part = {"id": attachment, "begin": row.begin, "content": content}
    await transaction.connection.execute(_ADD_PART, part)
    return True


async def _taken(transaction: Transaction, project: uuid.UUID, size: int, most: int) -> bool:
    values = {"project": project, "taken": size, "most": most}
    return (await transaction.connection.execute(_TAKE, values)).first() is not None


async def taken(connection: AsyncConnection, project: uuid.UUID) -> int:
    """Bytes, with those that each counts beyond its own."""
    found: int | None = (await connection.execute(_TAKEN, {"project": project})).scalar()
    return found or 0


async def untold(connection: AsyncConnection) -> dict[uuid.UUID, int]:
    """What each project has, where that is not what was told last."""
    return {row.project_id: row.bytes for row in await connection.execute(_UNTOLD)}


async def end(
    transaction: Transaction, upload: uuid.UUID, attachment: uuid.UUID, sha256: str
) -> KeptAttachment | None:
    """The draft is whole; None where it is gone, or another one has ended this upload."""
    upload_of = {"upload": upload, "id": attachment}
    if (await transaction.connection.execute(_END_UPLOAD, upload_of)).first() is None:
        return None
    values = {"id": attachment, "sha256": sha256}
    return _one((await transaction.connection.execute(_END, values)).first())


async def uploaded(connection: AsyncConnection, upload: uuid.UUID) -> KeptAttachment | None:
    return _one((await connection.execute(_UPLOADED, {"upload": upload})).first())


# -- kept --------------------------------------------------------------------------------------------------


async def get(
    connection: AsyncConnection, project: uuid.UUID, attachment: uuid.UUID
) -> KeptAttachment | None:
    return _one((await connection.execute(_GET, {"id": attachment, "project": project})).first())


async def place(connection: AsyncConnection, attachment: uuid.UUID) -> uuid.UUID | None:
    found: uuid.UUID | None = (await connection.execute(_PLACE, {"id": attachment})).scalar()
    return found


async def part(connection: AsyncConnection, attachment: uuid.UUID, offset: int) -> bytes:
    """Some bytes from there on; none at the end."""
    row = (await connection.execute(_PARTS, {"id": attachment, "offset": offset})).first()
    return bytes(row.content)[offset - row.begin :] if row is not None else b""


async def hold(
    transaction: Transaction, project: uuid.UUID, attachments: Collection[uuid.UUID]
) -> dict[uuid.UUID, KeptAttachment]:
    """Those of them that are there, and stay to the end of the transaction."""
    rows = await transaction.connection.execute(_HOLD, {"project": project, "ids": list(attachments)})
    return {row.id: _kept(row) for row in rows}


async def unused(connection: AsyncConnection) -> dict[uuid.UUID, list[uuid.UUID]]:
    """Those that no task has taken within a day, and drafts that have come to nothing, by project."""
    found: dict[uuid.UUID, list[uuid.UUID]] = {}
    for row in await connection.execute(_UNUSED):
        found.setdefault(row.project_id, []).append(row.id)
    return found


async def remove(transaction: Transaction, project: uuid.UUID, attachments: Collection[uuid.UUID]) -> bool:
    """Those that no task and no schedule has; whether there was any.

    They are locked before it is looked who has them: a task that takes one at this moment is seen.
    """
    locked = await transaction.connection.execute(_LOCK, {"project": project, "ids": list(attachments)})
    removed = await transaction.connection.execute(_REMOVE, {"ids": list(locked.scalars())})
    sizes = removed.scalars().all()
    if sizes:
        given = sum(sizes) + OVERHEAD * len(sizes)
        await transaction.connection.execute(_GIVE_BACK, {"project": project, "given": given})
    return bool(sizes)
