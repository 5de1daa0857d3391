"""The relay by itself, with a publisher that fails when it is told to."""

import asyncio

import pytest

from signalbox_common import outbox
from signalbox_common.db import Database
from signalbox_common.outbox import Relay
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.lab import LabSettings, NoteTaken

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


async def test_the_lock_of_a_relay_that_failed_goes_with_its_session(installation: Installation) -> None:
    """Back in the pool with the lock still held, that session would lock its own service out."""
    database = Database(installation.settings(LabSettings, "tasks", db_pool_size=2))
    published: list[str] = []
    failed = asyncio.Event()

    async def publish(subject: str, _body: bytes, _headers: dict[str, str]) -> bool:
        if not failed.is_set():
            failed.set()
            raise ConnectionError("the broker went away")
        published.append(subject)
        return False

    async def nobody_else() -> None:
        return None

    async with database.transaction() as transaction:
        outbox.emit(transaction, "tasks", NoteTaken(text="x"), project=None)
    relay = Relay(database, publish, nobody_else)
    relay.start()
    try:
        await failed.wait()

        async def given_back() -> bool:
            return database.engine.pool.status().endswith("Current Checked out connections: 0")

        await eventually(given_back)
        async with database.reading():  # whatever the pool hands out first is not for the relay now

            async def gone_out() -> bool:
                return published == ["evt._.tasks.lab.taken"]

            await eventually(gone_out)
    finally:
        await relay.stop()
        await database.close()


async def test_a_failure_starts_again_from_the_oldest(installation: Installation) -> None:
    database = Database(installation.settings(LabSettings, "tasks"))
    tried: list[str] = []

    async def publish(_subject: str, body: bytes, _headers: dict[str, str]) -> bool:
        text = NoteTaken.model_validate_json(body).text
        tried.append(text)
        if tried == ["0", "1"]:
            raise TimeoutError
        return False

    async def nobody_else() -> None:
        return None

    for number in range(3):
        async with database.transaction() as transaction:
            outbox.emit(transaction, "tasks", NoteTaken(text=str(number)), project=None)
    relay = Relay(database, publish, nobody_else)
    relay.start()
    try:

        async def empty() -> bool:
            return await relay.backlog() == 0

        await eventually(empty)
        assert tried == ["0", "1", "1", "2"], "what was confirmed is not sent again, and nothing overtakes"
    finally:
        await relay.stop()
        await database.close()
