"""The long run behind `make chaos`."""

import pytest

from tests.chaos.plan import PROGRAMS, Plan, seed
from tests.chaos.storm import weather

COMMANDS, RATE = 2500, 50.0
KILLS = {
    "gateway": 7,
    "auth": 7,
    "catalog": 3,
    "tasks": 3,
    "sandbox": 3,
    "git": 3,
    "postgres": 9,
    "redis": 6,
    "nats": 11,
}


@pytest.mark.timeout(600)
async def test_nothing_is_lost_and_nothing_happens_twice_while_everything_dies() -> None:
    victims = [program for program, kills in KILLS.items() for _ in range(kills)]
    await weather(Plan.make(commands=COMMANDS, rate=RATE, seed=seed(), victims=victims, alone=PROGRAMS))
