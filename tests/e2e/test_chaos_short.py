"""The chaos run in small: each server, auth, the gateway and one more die once under load."""

import random

import pytest

from tests.chaos.plan import PROGRAMS, SERVERS, Plan, seed
from tests.chaos.storm import weather

TOLD = (*SERVERS, "auth", "gateway")


@pytest.mark.timeout(100)
async def test_a_short_storm() -> None:
    chosen = seed()
    bystander = random.Random(chosen).choice([program for program in PROGRAMS if program not in TOLD])
    victims = (*TOLD, bystander)
    await weather(Plan.make(commands=150, rate=25.0, seed=chosen, victims=victims))
