"""What of the secret store and of the packages is referred to, by anything that is still kept."""

from sqlalchemy import text

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


async def bundles(transaction: Transaction) -> set[str]:
    return set((await transaction.connection.execute(_BUNDLES)).scalars())


async def objects(transaction: Transaction) -> set[str]:
    return set((await transaction.connection.execute(_OBJECTS)).scalars())
