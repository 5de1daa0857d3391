"""Files on the bus: the NATS object store, within deadlines and with our errors."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from nats.errors import Error as NatsError
from nats.js.errors import APIError, DigestMismatchError, NotFoundError, ServiceUnavailableError
from nats.js.errors import Error as JetStreamError
from nats.js.object_store import ObjectStore

from signalbox_common.bus.connection import Connection
from signalbox_common.errors import NotFound, SignalboxError, Unavailable

PATIENCE = 20.0
_CONNECTION_PATIENCE = 2.0
_FULL = frozenset({10077, 10047})  # maximum bytes reached, insufficient resources


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


class Bucket:
    """One bucket of the object store, as far as our rights go."""

    def __init__(self, connection: Connection, bucket: str) -> None:
        self._connection = connection
        self._bucket = bucket

    async def put(self, name: str, content: bytes) -> None:
        """Visible under its name when it is there as a whole."""
        with _explained():
            async with asyncio.timeout(PATIENCE):
                await (await self._store()).put(name, content)

    async def get(self, name: str) -> bytes:
        with _explained():
            async with asyncio.timeout(PATIENCE):
                found = await (await self._store()).get(name)
        return bytes(found.data or b"")

    async def delete(self, name: str) -> None:
        """Afterwards there is no such object, as there may have been none before."""
        try:
            with _explained():
                async with asyncio.timeout(PATIENCE):
                    await (await self._store()).delete(name)
        except ObjectNotFound:
            return

    async def all(self) -> list[StoredObject]:
        try:
            with _explained():
                async with asyncio.timeout(PATIENCE):
                    found = await (await self._store()).list()
        except ObjectNotFound:
            return []
        return [
            StoredObject(str(info.name), info.size or 0, datetime.fromisoformat(info.mtime))
            for info in found
            if info.mtime is not None and not info.deleted
        ]

    async def _store(self) -> ObjectStore:
        await self._connection.ready(_CONNECTION_PATIENCE)
        # Without asking for the stream first: provisioning has made it.
        return ObjectStore(self._bucket, f"OBJ_{self._bucket}", self._connection.jetstream)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except SignalboxError:
        raise
    except DigestMismatchError as error:
        raise ObjectDamaged from error
    except NotFoundError as error:
        raise ObjectNotFound from error
    except APIError as error:
        if error.err_code in _FULL:
            raise StorageFull from error
        raise Unavailable("The object store does not answer.") from error
    except (TimeoutError, ServiceUnavailableError, JetStreamError, NatsError) as error:
        raise Unavailable("The object store does not answer.") from error
