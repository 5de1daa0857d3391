"""The long run of live events in small: clients are cut off, and each server comes back once."""

import pytest

from tests.chaos.live_storm import LivePlan, live_storm
from tests.chaos.plan import seed
from tests.support.installation import Installation


@pytest.mark.timeout(180)
async def test_a_short_storm_of_live_events(own_installation: Installation) -> None:
    plan = LivePlan(seed=seed(), seconds=15, rate=60, clients=14, cuts=100, fanouts=1, empty=1)
    await live_storm(own_installation, plan)
