"""Any set of documents is applied as a whole, and again without a change."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st

from signalbox_catalog.service.applying import KEYS_NOT_COMPARED
from tests.support.catalog import catalog_of
from tests.support.catalog_model import KIND_OF, PLURAL_OF
from tests.support.catalog_person import Person, check_changes, everything, said
from tests.support.catalog_steps import Author, actions, changed, tried
from tests.support.installation import Installation
from tests.support.sse import outbox_is_empty, published

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


async def dump(installation: Installation, *, without: Sequence[str] = ()) -> dict[str, list[str]]:
    """Every row of every table of the catalog, but for the lease of whoever publishes."""
    async with installation.sql() as sql:
        tables = await sql.fetch(
            "select table_name from information_schema.tables where table_schema = 'catalog' order by 1"
        )
        names = [str(row["table_name"]) for row in tables]
        assert {"resources", "refs", "labels", "revisions", "namespaces", "secrets", "inbox"} <= set(names)
        return {
            name: [row[0] for row in await sql.fetch(f"select t::text from catalog.{name} t order by 1")]
            for name in names
            if name not in (*without, "relay")
        }


async def test_applying_again_changes_nothing_and_order_does_not_matter(installation: Installation) -> None:
    sizes: list[int] = []
    async with catalog_of(installation) as catalog:
        people = 0

        async def newcomer() -> Person:
            nonlocal people
            people += 1
            return await Person.new(catalog, installation, people)

        async def example(random: Random) -> None:
            author = Author(random)
            docs = author.good()
            if not docs:
                return
            sizes.append(len(docs))
            person, other = await newcomer(), await newcomer()
            text = author.text(person, docs)
            first = await person.apply(text)
            assert actions(first) == {"created": len(docs)}, text
            await outbox_is_empty(installation)
            tables = await dump(installation, without=["inbox", "outbox"])
            told = [len(await published(installation, project)) for project in person.projects.values()]
            assert sum(told) == len(docs)
            again = [text, author.text(person, author.random.sample(docs, len(docs)))]
            for number, same in enumerate(again):
                answer = await person.apply(same)
                assert actions(answer) == {"unchanged": len(docs)}, f"{number}: {answer.text}\n{text}"
            assert await dump(installation, without=["inbox", "outbox"]) == tables, text
            await outbox_is_empty(installation)
            assert told == [len(await published(installation, p)) for p in person.projects.values()]

            shuffled = author.random.sample(docs, len(docs))
            theirs = await other.apply(author.text(other, shuffled))
            assert actions(theirs) == {"created": len(docs)}
            names = [(item["kind"], item["name"]) for item in theirs.json()["items"]]
            assert names == [(KIND_OF[doc.plural], doc.name) for doc in shuffled], "in the order of documents"
            assert await everything(other) == await everything(person), text

        await tried(example, 10, random=st.randoms(use_true_random=True))
    print(f"{len(sizes)} sets of {min(sizes)} to {max(sizes)} documents")
    assert max(sizes) > 20


async def test_a_dry_run_changes_nothing_and_tells_what_will_be(installation: Installation) -> None:
    seen: Counter[str] = Counter()
    async with catalog_of(installation) as catalog:
        people = 0

        async def example(random: Random) -> None:
            nonlocal people
            people += 1
            author = Author(random)
            person = await Person.new(catalog, installation, people)
            docs = author.good()
            if docs:
                assert actions(await person.apply(author.text(person, docs)))["created"] == len(docs)
            wished = [changed(author, doc) for doc in docs if author.mostly()]
            wished += [doc for doc in [author.doc()] if doc.key not in {other.key for other in wished}]
            text = author.text(person, author.random.sample(wished, len(wished)))
            selector = author.of(None, None, "tier=x", "tier", "team in (a, b)")
            query = {"prune": "true", "labelSelector": selector} if selector else {}
            await outbox_is_empty(installation)
            tables, before = await dump(installation), await said(person)
            dry = await person.apply(text, dryRun="true", **query)
            await outbox_is_empty(installation)
            assert await dump(installation) == tables, "a dry run leaves no trace"
            real = await person.apply(text, **query)
            assert dry.status_code == real.status_code, (dry.text, real.text)
            seen[str(real.status_code)] += 1
            if real.status_code != 200:
                assert _without_ids(dry.json()) == _without_ids(real.json())
                await outbox_is_empty(installation)
                # Keys of a write that failed lie about for an hour; what is asked for once is remembered.
                left = await dump(installation, without=["inbox", "secrets"])
                assert left == {table: tables[table] for table in left}
                return
            seen.update(actions(real))
            after = await said(person)
            spaces = {slug: space for space, slug in person.slugs.items()}
            foretold = sorted(dry.json()["items"], key=_order)
            done = sorted(real.json()["items"], key=_order)
            assert dry.json()["dryRun"] is True
            assert real.json()["dryRun"] is False
            guessed = any(told["warning"] == KEYS_NOT_COMPARED for told in foretold)
            for told, item in zip(foretold, done, strict=True):
                if guessed:  # what it takes for another key counts as a change
                    told["resourceVersion"] = item["resourceVersion"]
                diff = told.pop("diff")
                assert item.pop("diff") is None
                if told["warning"] == KEYS_NOT_COMPARED:  # no dry run is there to try keys with
                    told |= {"warning": None, "generation": item["generation"]}
                    if item["action"] == "unchanged":
                        assert told["action"] == "updated"
                        continue
                assert told == item
                key = spaces[item["namespace"]], PLURAL_OF[item["kind"]], item["name"]
                assert bool(diff) == (item["action"] != "unchanged")
                if item["action"] in ("created", "deleted"):  # what was not said is not shown
                    check_changes(diff, _brief(before.get(key, {})), _brief(after.get(key, {})))
                else:
                    check_changes(diff or [], before[key], after[key])

        await tried(example, 16, random=st.randoms(use_true_random=True))
    print(f"{people} dry runs: {sorted(seen.items())}")
    assert {"200", "422", "created", "updated", "unchanged", "deleted"} <= seen.keys()


def _brief(said: dict[str, Any]) -> dict[str, Any]:
    """Without the metadata that is empty."""
    metadata = {name: value for name, value in said.get("metadata", {}).items() if value}
    return {name: said[name] for name in ("spec",) if said} | ({"metadata": metadata} if metadata else {})


def _order(item: Any) -> tuple[Any, ...]:
    return item["document"] or 0, item["namespace"], item["kind"], item["name"]


def _without_ids(problem: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in problem.items() if key != "correlationId"}
