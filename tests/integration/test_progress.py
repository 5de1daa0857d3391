"""Progress of an operation: in order, joined, within its budget, forgotten after its time."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalbox_common.bus import Bus
from signalbox_common.bus import progress as module
from signalbox_common.bus.progress import Progress, Spent
from signalbox_common.contracts.base import MAX_BODY
from signalbox_common.errors import EventTooLarge
from signalbox_common.settings import ServiceSettings
from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.lab import Counted, Logged

LINES = 100_000


@pytest.fixture
async def bus(installation: Installation) -> AsyncIterator[Bus]:
    made = Bus(installation.settings(ServiceSettings, "tasks"))
    await made.start()
    yield made
    await made.stop()


async def told(installation: Installation, project: uuid.UUID) -> list[tuple[str, dict[str, Any], int]]:
    """Type, data and size of all that was told in a project, by number."""
    messages = await installation.messages("EVENTS", f"evt.{project}.>")
    found = [(each.headers["ce-type"], json.loads(each.data), len(each.data)) for each in messages]
    return sorted(found, key=lambda each: each[1]["number"])


async def test_a_hundred_thousand_lines(installation: Installation, bus: Bus) -> None:
    """The budget holds, the order holds, and what is left out is counted."""
    project, budget = uuid.uuid4(), 1024 * 1024
    lines = [f"{number}: a line of a log that goes on for quite a while\n" for number in range(LINES)]
    async with Progress(bus, f"op_{project}", project=project, budget=budget) as progress:
        for line in lines:
            await progress.say(Logged(text=line))
    *logged, (last, omitted, _) = await told(installation, project)
    assert {kind for kind, _, _ in logged} == {"tasks.lab.logged"}
    assert [data["number"] for _, data, _ in logged] == list(range(1, len(logged) + 1))
    text = "".join(data["text"] for _, data, _ in logged)
    assert "".join(lines).startswith(text)
    assert budget * 0.9 < sum(size for _, _, size in logged) <= budget
    assert len(logged) < 100, "lines are joined"
    assert (last, omitted["number"]) == ("tasks.progress.omitted", len(logged) + 1)
    assert omitted["events"] == LINES - text.count("\n")
    assert progress.spent == Spent(
        len(logged) + 1, sum(size for _, _, size in logged), omitted["events"], omitted["bytes"]
    )


async def test_what_cannot_be_joined_keeps_its_place(installation: Installation, bus: Bus) -> None:
    project = uuid.uuid4()
    async with Progress(bus, f"op_{project}", project=project) as progress:
        for event in (
            Logged(text="a"),
            Logged(text="b"),
            Counted(percent=1),
            Counted(percent=2),
            Logged(text="c"),
        ):
            await progress.say(event)
    found = [data.get("text", data.get("percent")) for _, data, _ in await told(installation, project)]
    assert found == ["ab", 1, 2, "c"]


async def test_a_line_is_told_before_anything_follows(installation: Installation, bus: Bus) -> None:
    project = uuid.uuid4()
    async with Progress(bus, f"op_{project}", project=project) as progress:
        await progress.say(Logged(text="alone"))

        async def there() -> bool:
            return len(await told(installation, project)) == 1

        await eventually(there)


async def test_whoever_goes_on_with_it_goes_on_counting(installation: Installation, bus: Bus) -> None:
    project = uuid.uuid4()
    async with Progress(bus, f"op_{project}", project=project, budget=100) as first:
        await first.say(Logged(text="x" * 50))
    async with Progress(bus, f"op_{project}", project=project, budget=100, spent=first.spent) as second:
        await second.say(Logged(text="y" * 50))
    found = await told(installation, project)
    assert [kind for kind, _, _ in found] == ["tasks.lab.logged", "tasks.progress.omitted"]
    assert (found[1][1]["number"], found[1][1]["events"]) == (2, 1)


async def test_a_number_is_told_once(installation: Installation, bus: Bus) -> None:
    """Whoever was overtaken tells under numbers that are there already."""
    project = uuid.uuid4()
    for text in ("first", "overtaken"):
        async with Progress(bus, f"op_{project}", project=project) as progress:
            await progress.say(Logged(text=text))
    assert [data["text"] for _, data, _ in await told(installation, project)] == ["first"]


async def test_it_is_forgotten_after_its_time(installation: Installation, bus: Bus) -> None:
    project = uuid.uuid4()
    async with Progress(bus, f"op_{project}", project=project, kept=1) as progress:
        await progress.say(Logged(text="soon gone"))

    async def gone() -> bool:
        return await told(installation, project) == []

    await eventually(gone)


async def test_what_is_too_large_is_refused_and_loses_nothing(installation: Installation, bus: Bus) -> None:
    project = uuid.uuid4()
    async with Progress(bus, f"op_{project}", project=project) as progress:
        await progress.say(Logged(text="before"))
        with pytest.raises(EventTooLarge):
            await progress.say(Logged(text="x" * MAX_BODY))
        await progress.say(Logged(text=", after"))
    assert [data["text"] for _, data, _ in await told(installation, project)] == ["before, after"]


async def test_whoever_says_more_than_can_be_stored_waits(
    installation: Installation, bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING", 2)
    goes_on, stored = asyncio.Event(), 0

    async def store(_subject: str, _body: bytes, _headers: dict[str, str]) -> bool:
        nonlocal stored
        await goes_on.wait()
        stored += 1
        return False

    monkeypatch.setattr(bus, "store_event", store)
    said = 0

    async def say() -> None:
        nonlocal said
        async with Progress(bus, "op_1", project=None) as progress:
            for percent in range(100):
                await progress.say(Counted(percent=percent))
                said += 1

    saying = asyncio.create_task(say())

    async def waits() -> bool:
        return said >= 3

    await eventually(waits)
    for _ in range(100):
        await asyncio.sleep(0)
    assert said <= 5
    goes_on.set()
    await saying
    assert (said, stored) == (100, 100)
