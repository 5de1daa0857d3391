"""Facts that come together are handled together, and yet each once, whatever one of them does."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from signalbox_common import outbox
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually, running
from tests.support.installation import Installation
from tests.support.lab import Lab, LabSettings, NoteTaken

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


class Broken(Exception):
    pass


async def tell(installation: Installation, count: int) -> None:
    """All in one transaction, and published by a service that starts and stops."""
    settings = installation.settings(LabSettings, "tasks")
    database = Database(settings)
    async with database.transaction() as transaction:
        for number in range(count):
            outbox.emit(transaction, "tasks", NoteTaken(text=str(number)), project=None)
    await database.close()
    async with running(Lab().service(settings)):

        async def all_out() -> bool:
            return await installation.count("tasks.outbox") == 0

        await eventually(all_out, what="all are in the stream")


async def test_a_batch_of_which_the_fiftieth_raises(installation: Installation) -> None:
    """The others take effect once; it alone is tried again, and given up."""
    await tell(installation, 100)
    lab = Lab()

    async def act(text: str) -> None:
        lab.started[text] += 1
        if text == "49":
            raise Broken("cannot bear 49")

    lab.act = act
    reader = lab.reader(installation.settings(LabSettings, "catalog", command_attempts=3))
    async with running(reader):

        async def all_but_one() -> bool:
            return len(set(lab.facts)) == 99 and bool(await installation.messages("DEAD_LETTERS"))

        await eventually(all_but_one, within=60, what="99 handled, one given up")
        seen = await installation.count("catalog.seen_facts", "handler = 'catalog-on-lab-note-taken'")
        assert seen == 99, "each remembered once, and not the one that raised"
        (letter,) = await installation.messages("DEAD_LETTERS")
        assert NoteTaken.model_validate_json(letter.data).text == "49"
        assert letter.headers["Signalbox-Attempts"] == "3"
        assert "cannot bear 49" in letter.headers["Signalbox-Error"]


async def test_a_fact_that_stands_twice_in_one_batch(installation: Installation) -> None:
    """As after a relay that was away for longer than the stream looks back for duplicates."""
    event_id = str(uuid7())
    headers = {"ce-specversion": "1.0", "ce-type": "tasks.lab.taken", "ce-id": event_id}
    async with installation.nats() as client:
        for number in range(2):
            once_more = headers | {"Nats-Msg-Id": f"try-{number}"}
            await client.jetstream().publish("evt._.tasks.lab.taken", b'{"text": "twice"}', headers=once_more)
    lab = Lab()
    async with running(lab.reader(installation.settings(LabSettings, "catalog"))):

        async def all_settled() -> bool:
            async with installation.nats() as client:
                info = await client.jetstream().consumer_info("EVENTS", "catalog-on-lab-note-taken")
                return bool(info.num_pending == 0 and info.num_ack_pending == 0)

        await eventually(all_settled, what="both are acknowledged")
    assert lab.facts == ["twice"]


async def test_a_batch_is_one_transaction(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tell(installation, 100)
    transactions: set[int] = set()
    lab = Lab()
    service = lab.reader(installation.settings(LabSettings, "catalog"))
    handle = service.inbox.first_sights

    async def noted(transaction: Transaction, handler: str, event_ids: Sequence[UUID]) -> set[UUID]:
        transactions.add(id(transaction))
        return await handle(transaction, handler, event_ids)

    monkeypatch.setattr(service.inbox, "first_sights", noted)
    async with running(service):

        async def all_handled() -> bool:
            return len(lab.facts) == 100

        await eventually(all_handled, what="all are handled")
    assert sorted(map(int, lab.facts)) == list(range(100))
    assert len(transactions) < 20


async def test_two_facts_of_one_entity_keep_their_order_whatever_fails(installation: Installation) -> None:
    """Many publishes are in flight, and some fail: none of an entity overtakes the one before."""
    database = Database(installation.settings(LabSettings, "tasks"))
    stored: list[str] = []
    failures = iter([False, True, False, False, True] * 40)

    async def publish(subject: str, body: bytes, _headers: dict[str, str]) -> bool:
        await asyncio.sleep(0)
        if next(failures, False):
            raise ConnectionError("the broker went away")
        stored.append(f"{subject}:{NoteTaken.model_validate_json(body).text}")
        return False

    projects = [f"0191e7a5-0000-7000-8000-00000000000{number}" for number in range(5)]
    async with database.transaction() as transaction:
        for number in range(10):
            for project in projects:
                outbox.emit(transaction, "tasks", NoteTaken(text=str(number)), project=UUID(project))
    relay = outbox.Relay(database, publish, "relay-one")
    relay.start()
    try:

        async def empty() -> bool:
            return await relay.backlog() == 0

        await eventually(empty, within=60)
    finally:
        await relay.stop()
        await database.close()
    for project in projects:
        order = [int(each.rpartition(":")[2]) for each in stored if project in each]
        assert order == list(range(10))
