"""The clock of a service's database, set by tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.support.installation import Installation


@dataclass
class Clock:
    """Goes on from whatever it is set to."""

    installation: Installation
    schema: str

    async def set(self, moment: datetime) -> None:
        ahead = (moment - datetime.now(UTC)).total_seconds()
        await self._define(f"clock_timestamp() + interval '{ahead:.6f} seconds'")

    async def reset(self) -> None:
        await self._define("clock_timestamp()")

    async def _define(self, expression: str) -> None:
        async with self.installation.sql() as sql:
            await sql.execute(
                f"create or replace function {self.schema}.clock() returns timestamptz "
                f"language sql volatile as $$select {expression}$$"
            )


@asynccontextmanager
async def clock_of(installation: Installation, schema: str) -> AsyncIterator[Clock]:
    clock = Clock(installation, schema)
    try:
        yield clock
    finally:
        await clock.reset()
