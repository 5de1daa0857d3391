"""How many events from outside a project and a person may send: the stream of all has a bounded size."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from signalbox_common.bus import headers as h
from signalbox_common.errors import QuotaExceeded
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from signalbox_gateway.event_quotas import EventQuotas
from tests.support.installation import Http, Installation
from tests.support.live import fanout_with

MOST = 5


@pytest.fixture
async def redis(installation: Installation) -> AsyncIterator[Redis]:
    servers = installation.servers
    client = Redis.from_url(servers.credentials.redis_url(servers.endpoints, "gateway"))
    yield client
    await client.aclose()


async def taken(quotas: EventQuotas, count: int, project: uuid.UUID, size: int = 10, **who: Any) -> list[str]:
    """What was refused, of so many at once."""

    async def one() -> str:
        try:
            await quotas.take(project, size, **who)
        except QuotaExceeded as error:
            return error.errors[0].field
        return ""

    return [found for found in await asyncio.gather(*(one() for _ in range(count))) if found]


async def test_all_processes_count_together(redis: Redis) -> None:
    one, other = (EventQuotas(redis, events=MOST, size=0) for _ in "ab")
    project, elsewhere = uuid.uuid4(), uuid.uuid4()
    refused = [await taken(each, 10, project) for each in (one, other)]
    assert (sum(map(len, refused)), {name for each in refused for name in each}) == (15, {"eventsPerDay"})
    assert await taken(one, MOST, elsewhere) == []


async def test_bytes_count_as_well(redis: Redis) -> None:
    quotas, project = EventQuotas(redis, events=0, size=1_000), uuid.uuid4()
    assert await taken(quotas, 5, project, 300) == ["eventBytesPerDay"] * 2
    assert await taken(quotas, 1, project, 100) == []
    with pytest.raises(QuotaExceeded) as refused:
        await quotas.take(project, 100)
    assert refused.value.retry_after is not None
    assert 8_000 < refused.value.retry_after <= 8_640, "a tenth comes back in a tenth of a day"


async def test_all_projects_of_a_person_count_together(redis: Redis) -> None:
    quotas, me = EventQuotas(redis, events=MOST, size=0), uuid.uuid4()
    for _ in range(MOST):
        assert await taken(quotas, 1, uuid.uuid4(), user=me) == []
    another = uuid.uuid4()
    assert await taken(quotas, 1, another, user=me) == ["eventsPerDay"]
    assert await taken(quotas, MOST, another, user=uuid.uuid4()) == [], "what was refused counts nowhere"


async def test_it_counts_alone_while_redis_is_away() -> None:
    async with Redis.from_url("redis://127.0.0.1:1") as nowhere:
        quotas, project = EventQuotas(nowhere, events=MOST, size=0), uuid.uuid4()
        assert len(await taken(quotas, 20, project)) == 20 - MOST
        assert await taken(quotas, 1, uuid.uuid4()) == []


async def publish(http: Http, headers: dict[str, str], project: str, count: int) -> list[Any]:
    where = f"/api/v1/projects/{project}/events"
    return await asyncio.gather(
        *(http.post(where, json={"type": "ext.a", "data": n}, headers=headers) for n in range(count))
    )


async def test_over_http_it_is_said_which_quota_it_is(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway(quota_events_per_day=MOST) as http:
        owner = await http.sign_up()
        project, other = await http.project(owner), await http.project(owner, "Other")
        answers = await publish(http, owner, project, 20)
        assert sorted(answer.status_code for answer in answers) == [202] * MOST + [429] * (20 - MOST)
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert (refused.json()["code"], refused.json()["errors"][0]["field"]) == (
            "quota_exceeded",
            "eventsPerDay",
        )
        assert refused.json()["detail"] == "The project has a quota of 5 for eventsPerDay, and 5 are used."
        assert int(refused.headers["retry-after"]) > 10_000
        member = await http.join(owner, project, "developer")
        assert (await publish(http, member, project, 1))[0].status_code == 429
        (mine,) = await publish(http, owner, other, 1)
        assert mine.json()["detail"] == "You have a quota of 5 for eventsPerDay, and 5 are used."
        stranger = await http.sign_up()
        theirs = await http.project(stranger)
        assert [each.status_code for each in await publish(http, stranger, theirs, MOST)] == [202] * MOST


@pytest.mark.fresh
async def test_over_the_bus_what_is_too_much_becomes_letters_and_those_have_a_bound(
    installation: Installation,
) -> None:
    """And nobody else's events and letters are pushed out by it."""
    flooded, other = (str(uuid7()) for _ in "ab")
    headers = {"ce-specversion": "1.0", "ce-source": "/ci", "ce-type": "ext.ci.done"}
    limits = {
        "SIGNALBOX_QUOTA_EVENTS_PER_DAY": str(MOST),
        "SIGNALBOX_QUOTA_DEAD_LETTERS_PER_DAY": "7",
    }
    async with fanout_with(installation, limits), installation.nats() as client:
        jetstream = client.jetstream()
        for number in range(40):
            told = headers | {"ce-id": str(number)}
            await jetstream.publish(f"ext.{flooded}.ci.done", str(number).encode(), headers=told)
        for number in range(MOST):
            told = headers | {"ce-id": str(number)}
            await jetstream.publish(f"ext.{other}.ci.done", str(number).encode(), headers=told)
        await jetstream.publish(f"ext.{other}.ci.done", b"{", headers=headers | {"ce-id": "bad"})

        async def settled() -> bool:
            info = await jetstream.consumer_info("EXTERNAL", "fanout-ingest")
            return (info.num_pending, info.num_ack_pending) == (0, 0)

        await eventually(settled, what="everything is settled")
    for project in (flooded, other):
        events = await installation.messages("EVENTS", f"evt.{project}.>")
        assert [json.loads(each.data) for each in events] == list(range(MOST))
    letters = await installation.messages("DEAD_LETTERS")
    reasons = [(letter.headers[h.REASON], letter.headers[h.ORIGINAL_SUBJECT]) for letter in letters]
    assert reasons.count(("quota_exceeded", f"ext.{flooded}.ci.done")) == 7
    assert reasons.count(("bad_json", f"ext.{other}.ci.done")) == 1
    assert len(reasons) == 8
