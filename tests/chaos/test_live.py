"""The long run of live events behind `make chaos`."""

import pytest

from tests.chaos.live_storm import LivePlan, live_storm
from tests.chaos.plan import seed
from tests.support.installation import Installation


@pytest.mark.timeout(600)
async def test_nothing_is_missed_and_nothing_is_told_twice(own_installation: Installation) -> None:
    plan = LivePlan(
        seed=seed(), seconds=100, rate=200, clients=50, cuts=2_000, fanouts=5, empty=2, sleepers=4
    )
    await live_storm(own_installation, plan)
