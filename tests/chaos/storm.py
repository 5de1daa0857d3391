"""A whole run: the storm, the calm after it, and the verdict."""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from itertools import count, takewhile
from typing import Any

from signalbox_cli.stack import status
from signalbox_common.contracts.streams import COMMANDS, FACT_CONSUMERS
from signalbox_common.programs import OWNERS
from signalbox_common.testing import eventually
from tests.chaos.clients import Clients
from tests.chaos.killer import Killer
from tests.chaos.ledger import Command, Ledger
from tests.chaos.plan import SEED, Plan
from tests.chaos.stack import Stack, stack
from tests.chaos.table import table
from tests.chaos.truth import Truth
from tests.chaos.verdict import Outcome

SETTLE_WITHIN = 60.0
CALM_RATE = 10.0
"""Commands a second while programs are killed one at a time."""
FACTS = frozenset(fact.name for fact in FACT_CONSUMERS)

Users = list[dict[str, str]]


async def weather(plan: Plan) -> None:
    """What the tests call: a stack, load and kills, the table, and the verdict."""
    print(f"\n{SEED}={plan.seed}")
    async with stack() as running:
        outcome = await _run(running, plan)
        assert outcome.truth.supervisor == running.supervisor, "the supervisor is another one"
        problems = outcome.problems()
        outcome.ledger.dump(running.course)
        print(f"\n{table(outcome)}")
        assert not problems, f"{len(problems)} problems:\n" + "\n".join(problems[:60])


async def _run(running: Stack, plan: Plan) -> Outcome:
    """Every part of it to its end whatever fails: told alone, one offence would hide what else went wrong."""
    began = time.monotonic()
    ledger = Ledger()
    async with Clients.of(running.url, ledger, random.Random(plan.seed)) as clients:
        users = await clients.sign_up(plan.users)
        killer = Killer(running, ledger)
        watching = asyncio.create_task(killer.watch())
        try:
            load = _load(clients, users, plan.rate, range(plan.commands))
            await asyncio.gather(_noted(ledger, killer.by_plan(plan)), _noted(ledger, load))
            await _noted(ledger, _calm(running, plan, ledger, killer, clients, users))
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        await _each(list(ledger.operations.items()), lambda item: clients.settled(*item))
    return Outcome(plan, ledger, await Truth.read(running), time.monotonic() - began)


async def _calm(
    running: Stack, plan: Plan, ledger: Ledger, killer: Killer, clients: Clients, users: Users
) -> None:
    """Begins when the storm is over: only then a kill is alone."""
    await settle(running)
    if not plan.alone:
        return
    done = asyncio.Event()
    numbers = takewhile(lambda _: not done.is_set(), count())
    async with asyncio.TaskGroup() as group:
        group.create_task(_load(clients, users, CALM_RATE, numbers))
        try:
            await _noted(ledger, killer.one_by_one(plan.alone))
        finally:
            done.set()
    await settle(running)


async def settle(running: Stack) -> None:
    """Until everything runs, nothing waits in a queue, and no outbox holds anything."""

    async def settled() -> bool:
        found = await status.read(running.home)
        assert found is not None, "the supervisor is gone"
        rows = (*found["services"], *found["servers"])
        assert [row["name"] for row in rows if row["state"] != "running"] == []
        assert found["outbox"] == dict.fromkeys(OWNERS, 0)
        waiting = {stream["name"]: stream["messages"] for stream in found["streams"] or ()}
        assert waiting.get(COMMANDS.name) == 0, f"commands wait: {found['streams']}"
        readers = [reader for stream in found["streams"] for reader in stream["consumers"]]
        behind = [r["name"] for r in readers if r["name"] in FACTS and (r["pending"] or r["unacknowledged"])]
        assert not behind, f"facts wait for {behind}"
        return True

    await eventually(settled, within=SETTLE_WITHIN, what="calm after the kills")


async def _noted(ledger: Ledger, work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except AssertionError as error:
        ledger.broken.append(str(error))


async def _load(clients: Clients, users: Users, rate: float, numbers: Iterable[int]) -> None:
    """An open loop: a slow answer does not slow the load down. Ends when every command is settled."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in numbers:
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            command = Command(f"chaos-{uuid.uuid4()}", users[number % len(users)])
            group.create_task(clients.create(command))


async def _each(items: list[Any], work: Callable[[Any], Any], *, at_once: int = 16) -> None:
    """All of it, a few at a time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(at_once)))
