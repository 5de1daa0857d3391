"""Files that people give to tasks: taken in as they come, kept for as long as a task has them."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from signalbox_common.bus import Call
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.tasks import NewAttachment, TaskAttachment
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import IdempotencyKeyReused, SignalboxError, Unavailable
from signalbox_common.keys import uuid7
from signalbox_common.storage import ProjectStorage
from signalbox_tasks import errors
from signalbox_tasks.store import attachments
from signalbox_tasks.store.attachments import PART, KeptAttachment

_TOO_SLOW = "It took so long that what had come was cleared away."


class Attachments:
    def __init__(self, database: Database, storage: ProjectStorage, *, most_mb: int) -> None:
        self._database = database
        self._storage = storage
        self._most_mb, self._most = most_mb, most_mb * 1024 * 1024

    # -- taken in ----------------------------------------------------------------------------------------

    async def take(
        self, project: uuid.UUID, upload: uuid.UUID, about: NewAttachment, body: AsyncIterator[bytes]
    ) -> contract.Attachment:
        """Nothing of it stays where it does not come to its end."""
        async with self._database.reading() as connection:
            known = await attachments.uploaded(connection, upload)
        if known is not None:
            return await self._again(project, known, about, body)
        draft = uuid7()
        async with self._database.transaction() as transaction:
            most = await self._bound(transaction, project)
            if not await attachments.begin(transaction, project, draft, about, most):
                raise await self._full(transaction, project, most)
        ended = None
        try:
            sha256 = await self._keep(project, draft, body)
            async with self._database.transaction() as transaction:
                ended = await attachments.end(transaction, upload, draft, sha256)
                await self._tell(transaction, project)
        finally:
            if ended is None:
                await self._drop(project, draft)
        return _reply(ended or await self._taken_meanwhile(project, upload, about, sha256))

    async def _again(
        self, project: uuid.UUID, known: KeptAttachment, about: NewAttachment, body: AsyncIterator[bytes]
    ) -> contract.Attachment:
        digest = hashlib.sha256()
        async for piece in _pieces(body):
            digest.update(piece)
        return _reply(_the_same(known, project, about, digest.hexdigest()))

    async def _keep(self, project: uuid.UUID, draft: uuid.UUID, body: AsyncIterator[bytes]) -> str:
        """Each piece in a transaction of its own: what is kept of a project is never more than it may be."""
        digest = hashlib.sha256()
        async for piece in _pieces(body):
            digest.update(piece)
            async with self._database.transaction() as transaction:
                most = await self._bound(transaction, project)
                added = await attachments.add(transaction, project, draft, piece, most)
                if added is None:
                    raise Unavailable(_TOO_SLOW)
                if not added:
                    raise await self._full(transaction, project, most)
        return digest.hexdigest()

    async def _tell(self, transaction: Transaction, project: uuid.UUID) -> None:
        size = await attachments.taken(transaction.connection, project)
        await self._storage.measure(transaction, project, size)

    async def _bound(self, transaction: Transaction, project: uuid.UUID) -> int:
        """Of the installation, or of the project where that is less."""
        left = await self._storage.left(transaction.connection, project)
        return self._most if left is None else min(self._most, left)

    async def _full(self, transaction: Transaction, project: uuid.UUID, most: int) -> SignalboxError:
        if most == self._most:
            return errors.AttachmentsFull(self._most_mb)
        own = await attachments.taken(transaction.connection, project)
        return await self._storage.exceeded(transaction.connection, project, own)

    async def measure(self, transaction: Transaction) -> None:
        """What is not as it was told last."""
        for project, size in (await attachments.untold(transaction.connection)).items():
            await self._storage.measure(transaction, project, size)

    async def _taken_meanwhile(
        self, project: uuid.UUID, upload: uuid.UUID, about: NewAttachment, sha256: str
    ) -> KeptAttachment:
        """By another request with the same key."""
        async with self._database.reading() as connection:
            known = await attachments.uploaded(connection, upload)
        if known is None:
            raise Unavailable(_TOO_SLOW)
        return _the_same(known, project, about, sha256)

    async def _drop(self, project: uuid.UUID, draft: uuid.UUID) -> None:
        """Or later, when it is looked for what nobody has."""
        with suppress(Exception):
            async with self._database.transaction() as transaction:
                await attachments.remove(transaction, project, [draft])

    # -- kept --------------------------------------------------------------------------------------------

    async def get(self, call: Call, query: contract.GetAttachment) -> contract.Attachment:
        return _reply(await self.found(call.principal.project(), query.attachment))

    async def found(self, project: uuid.UUID, attachment: uuid.UUID) -> KeptAttachment:
        async with self._database.reading() as connection:
            found = await attachments.get(connection, project, attachment)
        if found is None:
            raise errors.AttachmentNotFound
        return found

    async def place(self, _call: Call, query: contract.FindAttachment) -> contract.TaskPlace:
        async with self._database.reading() as connection:
            project = await attachments.place(connection, query.attachment)
        if project is None:
            raise errors.AttachmentNotFound
        return contract.TaskPlace(project=project)

    async def delete(self, call: Call, command: contract.DeleteAttachment) -> Empty:
        project, transaction = call.principal.project(), call.transaction
        if await attachments.get(transaction.connection, project, command.attachment) is None:
            raise errors.AttachmentNotFound
        if not await attachments.remove(transaction, project, [command.attachment]):
            raise errors.AttachmentInUse
        await self._tell(transaction, project)
        return Empty()

    async def forget(self) -> None:
        """What nobody has, and nobody is about to have."""
        async with self._database.reading() as connection:
            unused = await attachments.unused(connection)
        for project, found in unused.items():
            async with self._database.transaction() as transaction:
                await attachments.remove(transaction, project, found)


async def content_of(database: Database, attachment: uuid.UUID, offset: int = 0) -> AsyncIterator[bytes]:
    """Its bytes from there on."""
    while True:
        async with database.reading() as connection:
            part = await attachments.part(connection, attachment, offset)
        if not part:
            return
        yield part
        offset += len(part)


async def held(
    transaction: Transaction, project: uuid.UUID, wanted: Sequence[uuid.UUID]
) -> tuple[TaskAttachment, ...]:
    """What a task is created with, in its order; it stays for as long as the task does."""
    if not wanted:
        return ()
    found = await attachments.hold(transaction, project, wanted)
    names: set[str] = set()
    for each in wanted:
        if each not in found:
            raise errors.AttachmentMissing(each)
        if found[each].name in names:
            raise errors.AttachmentNamesClash(found[each].name)
        names.add(found[each].name)
    kept = (found[each] for each in wanted)
    return tuple(TaskAttachment(id=k.id, name=k.name, size=k.size, sha256=k.sha256) for k in kept)


async def _pieces(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """As they are kept; raises AttachmentTooLarge as soon as there is more than may be."""
    waiting, size = bytearray(), 0
    async for chunk in body:
        size += len(chunk)
        if size > contract.MAX_ATTACHMENT:
            raise errors.AttachmentTooLarge(contract.MAX_ATTACHMENT)
        waiting += chunk
        while len(waiting) >= PART:
            yield bytes(waiting[:PART])
            del waiting[:PART]
    if waiting:
        yield bytes(waiting)


def _the_same(known: KeptAttachment, project: uuid.UUID, about: NewAttachment, sha256: str) -> KeptAttachment:
    """Of another project, it is another request as well."""
    said = (known.project_id, known.name, known.media_type, known.sha256)
    if said != (project, about.name, about.media_type, sha256):
        raise IdempotencyKeyReused
    return known


def _reply(found: KeptAttachment) -> contract.Attachment:
    return contract.Attachment(
        id=found.id,
        project_id=found.project_id,
        name=found.name,
        size=found.size,
        sha256=found.sha256,
        media_type=found.media_type,
        created_at=found.created_at,
    )
