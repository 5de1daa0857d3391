"""How much load a run has, and who dies when."""

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass

from signalbox_common import programs

SERVERS = ("postgres", "redis", "nats")
PROGRAMS = (*programs.PROGRAMS, *SERVERS)

SEED = "SIGNALBOX_CHAOS_SEED"
QUIET_SHARE = 0.12
"""The last part of the load is free of kills, so that even the last one is seen to be over."""


def seed() -> int:
    """Chosen by whoever repeats a run, else anew."""
    given = os.environ.get(SEED)
    return int(given) if given else random.SystemRandom().randrange(2**32)


@dataclass(frozen=True)
class Plan:
    """How much load, who is killed and when; all of it follows from the seed."""

    commands: int
    rate: float
    seed: int
    victims: tuple[str, ...]
    moments: tuple[float, ...]
    alone: tuple[str, ...] = ()
    """Who is killed once more in the calm after the storm, one at a time; nobody: no such phase."""
    users: int = 5

    @staticmethod
    def make(
        *, commands: int, rate: float, seed: int, victims: Iterable[str], alone: Iterable[str] = ()
    ) -> "Plan":
        """Victims in random order, each at a random moment of its own slot of the load."""
        rng = random.Random(seed)
        order = list(victims)
        rng.shuffle(order)
        slot = commands / rate * (1 - QUIET_SHARE) / len(order)
        moments = tuple((number + rng.random()) * slot for number in range(len(order)))
        return Plan(commands, rate, seed, tuple(order), moments, tuple(alone))
