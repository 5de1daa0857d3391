"""The hub and the fan-out behind it: nothing missed, nothing twice, whatever Redis does."""

import uuid

import pytest

from signalbox_common.testing import eventually
from signalbox_gateway.live.publication import StreamPosition
from tests.support.installation import Installation
from tests.support.lab import NoteTaken
from tests.support.live_core import PROJECT, ClientView, live

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


async def test_what_happens_is_told_in_order_and_once(installation: Installation) -> None:
    async with live(installation) as (hub, tasks, _):
        await tasks.publish(NoteTaken(text="before"), project=PROJECT)
        seen = ClientView()
        subscriber = seen.subscriber()
        begin, past = await hub.subscribe(subscriber, None)
        hub.go_live(subscriber)
        assert past == []
        for n in range(50):
            await tasks.publish(NoteTaken(text=str(n)), project=PROJECT)
            await tasks.publish(NoteTaken(text="not ours"), project=uuid.uuid4())

        async def all_there() -> bool:
            return len(seen.told) >= 50

        await eventually(all_there, what="fifty events")
        assert [each.type for each in seen.told] == ["tasks.lab.taken"] * 50
        assert seen.numbers == sorted(set(seen.numbers))
        again = ClientView()
        second = again.subscriber()
        start, missed = await hub.subscribe(second, StreamPosition(begin.epoch, seen.numbers[9]))
        hub.go_live(second)
        assert start.offset == seen.numbers[9]
        assert [each.offset for each in missed] == seen.numbers[10:]
        assert seen.lost == 0
