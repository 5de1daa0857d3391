"""What of the secret store and of the packages is referred to, by anything that is still kept."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

_BUNDLES = text(
    """
    select entry.value ->> 'bundle' as bundle
    from catalog.resources, jsonb_each(resources.secrets) as entry
    union
    select entry.value ->> 'bundle'
    from catalog.revisions, jsonb_each(revisions.resource -> 'secrets') as entry
    """
)
_OBJECTS = text(
    """
    select status -> 'package' ->> 'object' as object from catalog.resources
    where status -> 'package' is not null
    """
)
_OF_OBJECTS = text(
    """
    select status -> 'package' ->> 'object' from catalog.resources
    where status -> 'package' is not null and status -> 'package' ->> 'object' = any(:objects)
    """
)


async def bundles(transaction: Transaction) -> set[str]:
    return set((await transaction.connection.execute(_BUNDLES)).scalars())


async def objects(transaction: Transaction) -> set[str]:
    return set((await transaction.connection.execute(_OBJECTS)).scalars())


async def of_objects(connection: AsyncConnection, objects: Sequence[str]) -> set[str]:
    """Those of them that something is stored as."""
    return set((await connection.execute(_OF_OBJECTS, {"objects": list(objects)})).scalars())
