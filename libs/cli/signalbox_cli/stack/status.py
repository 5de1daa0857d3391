"""What a running stack looks like; whatever cannot be asked is null."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from signalbox_cli.stack import disk, leftovers
from signalbox_cli.stack.home import Home
from signalbox_common.programs import OWNERS

if TYPE_CHECKING:
    from signalbox_cli.operator import Operator

PATIENCE = 0.5
UNSUPERVISED = "unsupervised"
"""Programs run, and nobody is there who would start one again."""
DEAD_LETTERS = "DEAD_LETTERS"
"""The stream; its contract would import all others, which takes longer than to ask."""


async def read(home: Home) -> dict[str, Any] | None:
    """None where nothing runs."""
    state = await asyncio.to_thread(home.read_state)
    if state is None:
        return None
    supervised = home.is_locked()
    if not supervised and not await asyncio.to_thread(leftovers.find, home):
        return None
    from signalbox_cli.operator import Operator  # before the clock runs: it takes as long as the patience

    streams, backlog = await asyncio.gather(
        _within(_streams(home, Operator)), _within(_backlog(home, Operator))
    )
    outbox, work = backlog or (dict.fromkeys(OWNERS), dict.fromkeys(OWNERS))
    letters = None
    for stream in streams or ():
        if stream["name"] == DEAD_LETTERS:
            letters = stream["messages"]
    return {
        "phase": state["phase"] if supervised else UNSUPERVISED,
        "url": state["url"],
        "supervisor": state["pid"] if supervised else None,
        "disk": disk.state_of(home),
        "services": state["services"],
        "servers": state["servers"],
        "forkserver": state["forkserver"],
        "streams": streams,
        "outbox": outbox,
        "work": work,
        "deadLetters": letters,
    }


async def _within(work: Any) -> Any:
    try:
        return await asyncio.wait_for(work, PATIENCE)
    except Exception:  # noqa: BLE001 - a server that is down is one of the things that status shows
        return None


async def _streams(home: Home, operator: "Callable[[Home], Operator]") -> list[dict[str, Any]]:
    async with operator(home).nats() as client:
        jetstream = client.jetstream(timeout=PATIENCE)
        infos = await jetstream.streams_info()
        found = []
        for info in sorted(infos, key=lambda info: str(info.config.name)):
            consumers = await jetstream.consumers_info(str(info.config.name))
            found.append(
                {
                    "name": info.config.name,
                    "messages": info.state.messages,
                    "bytes": info.state.bytes,
                    "consumers": [
                        {
                            "name": consumer.name,
                            "pending": consumer.num_pending,
                            "unacknowledged": consumer.num_ack_pending,
                            "redelivered": consumer.num_redelivered,
                        }
                        for consumer in sorted(consumers, key=lambda consumer: consumer.name)
                    ],
                }
            )
        return found


_WORK = """
    select count(*) filter (where state = 'waiting') as waiting,
           count(*) filter (where state = 'running') as running,
           count(*) filter (where state = 'failed') as failed,
           extract(epoch from now() - min(due_at) filter (where state = 'waiting' and due_at < now()))::int
               as overdue
    from {}.work
"""
"""`overdue`: the seconds that what is due has waited for longest."""


async def _backlog(
    home: Home, operator: "Callable[[Home], Operator]"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Facts that wait to be published, and work."""
    async with operator(home).database() as connection:
        outbox = {
            service: await connection.fetchval(f"select count(*) from {service}.outbox")  # noqa: S608 - our own names
            for service in OWNERS
        }
        work = {service: dict(await connection.fetchrow(_WORK.format(service))) for service in OWNERS}
    return outbox, work
