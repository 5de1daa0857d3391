"""Lists of a few among very many: ranges of an index, whatever the total is."""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql import asyncpg

from signalbox_catalog.domain.labels import parse_selector
from signalbox_catalog.domain.resources import Place
from signalbox_catalog.settings import CatalogSettings
from signalbox_catalog.store import resources
from signalbox_common.db import Database
from tests.support.installation import Installation

pytestmark = pytest.mark.fresh  # whole streams and tables are counted

MANY = 100_000
PROJECT = uuid.UUID("00000000-0000-7000-8000-000000000001")
FILL = """
with new as (
    insert into catalog.resources
    select gen_random_uuid(), $1, 'Ghost', 'ghost-' || lpad(n::text, 7, '0'), null,
           jsonb_build_object('team', 'team-' || n % 100), '{}',
           jsonb_build_object('systemPrompt', repeat('You write code. ', 20)), '{}', '{}', 1000,
           1, n, $1, now(), now(), null
    from generate_series(1, $2::int) as n
    returning uid, name, labels
)
insert into catalog.labels select $1, 'Ghost', 'team', labels ->> 'team', name, uid from new
"""


@pytest.fixture(params=["counted", "not counted yet"])
async def database(installation: Installation, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """With very many resources in one project; also before PostgreSQL knows that they are many."""
    made = Database(installation.settings(CatalogSettings))
    async with installation.sql() as connection:
        await connection.execute("insert into catalog.namespaces values ($1, 'many', $2, 0)", PROJECT, MANY)
        await connection.execute(FILL, PROJECT, MANY)
        if request.param == "counted":
            await connection.execute("analyze catalog.resources, catalog.labels")
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("after", "selector", "index"),
    [
        (None, "", "resources_living"),
        ("ghost-0050000", "", "resources_living"),
        (None, "team=team-7", "labels_pkey"),
        ("ghost-0050000", "team=team-7,!absent", "labels_pkey"),
    ],
    ids=["first", "middle", "label", "labels"],
)
async def test_a_page_is_a_range_of_an_index(
    database: Database, after: str | None, selector: str, index: str
) -> None:
    statement = resources.page_statement(
        PROJECT, "Ghost", limit=101, after=after, search=None, requirements=parse_selector(selector)
    )
    compiled = resources.page_query(Place(PROJECT, "many"), statement).compile(
        dialect=asyncpg.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it so
    )
    values = ", ".join(f"'{compiled.params[name]}'" for name in compiled.positiontup or ())
    async with database.reading() as connection:
        # The plan for any values: the one that is used from the sixth time on.
        await connection.exec_driver_sql("set plan_cache_mode = force_generic_plan")
        await connection.exec_driver_sql(f"prepare page as {compiled}")
        explained = f"explain (analyze, format json) execute page ({values})"
        plan = (await connection.exec_driver_sql(explained)).scalar_one()
        await connection.exec_driver_sql("discard all")
    nodes = list(_nodes(plan[0]["Plan"]))
    assert index in {node.get("Index Name") for node in nodes}, plan
    # No node of the plan handles many more rows than are answered.
    assert max(node["Actual Rows"] * node["Actual Loops"] for node in nodes) <= 2 * 101


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)
