"""Nodes, and the instances that are there."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.db import Transaction

_ENROLL = text(
    "insert into sandbox.nodes (name, capacity) values (:node, :capacity) "
    "on conflict (name) do update set capacity = excluded.capacity"
)
_ROOM = text("select capacity from sandbox.nodes where name = :node for update")
_USED = text(
    "select count(*) from sandbox.sandboxes "
    "where node = :node and status in ('creating', 'running', 'paused')"
)
_BEAT = text(
    "insert into sandbox.instances (name, node, url, beat) values (:name, :node, :url, 1) "
    "on conflict (name) do update set beat = sandbox.instances.beat + 1, url = excluded.url"
)
_INSTANCES = text("select name, node, url, beat from sandbox.instances order by name")
_LEAVE = text("delete from sandbox.instances where name = any(cast(:names as text[]))")


@dataclass(frozen=True)
class Instance:
    """A process of this service, and the node that it is on."""

    name: str
    node: str
    url: str
    beat: int


async def enroll(connection: AsyncConnection, node: str, capacity: int) -> None:
    await connection.execute(_ENROLL, {"node": node, "capacity": capacity})


async def has_room(transaction: Transaction, node: str) -> bool:
    """Nobody else takes the last place before this transaction ends."""
    capacity = (await transaction.connection.execute(_ROOM, {"node": node})).scalar_one()
    used = (await transaction.connection.execute(_USED, {"node": node})).scalar_one()
    return bool(used < capacity)


async def beat(connection: AsyncConnection, instance: str, node: str, url: str) -> None:
    await connection.execute(_BEAT, {"name": instance, "node": node, "url": url})


async def instances(connection: AsyncConnection) -> list[Instance]:
    return [Instance(*row) for row in await connection.execute(_INSTANCES)]


async def leave(connection: AsyncConnection, names: Collection[str]) -> None:
    await connection.execute(_LEAVE, {"names": list(names)})
