"""Any sequence of changes leaves what a simple model says."""

import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import strategies as st

from signalbox_catalog.service.vault import Vault
from signalbox_common.secrets import KeyFile, LocalSecrets
from tests.support.catalog import Catalog, catalog_of
from tests.support.catalog_model import HOME, OTHER, Doc, Spec
from tests.support.catalog_person import Person, listed, paged_through
from tests.support.catalog_steps import EVERYTHING, STEPS, Fancy, actions, tried
from tests.support.catalog_walk import Walk
from tests.support.installation import Installation
from tests.support.sse import outbox_is_empty, published

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


# -- sequences of changes ---------------------------------------------------------------------------------
LENGTH = 40
"""Changes of one sequence."""


def vault_of(catalog: Catalog) -> Vault:
    """The secret store of a running catalog, as it uses it itself."""
    its: Any = catalog.service.settings
    secret_key = its.secret_key.get_secret_value()
    keys = KeyFile(its.secrets_dir / "catalog.keys", secret_key)
    return Vault(LocalSecrets(catalog.service.database, keys), secret_key)


async def test_any_sequence_of_changes_leaves_what_a_model_says(installation: Installation) -> None:
    walks: list[Walk] = []
    async with catalog_of(installation) as catalog, installation.sql() as sql:
        vault = vault_of(catalog)

        async def sequence(random: Random) -> None:
            walk = Walk(await Person.new(catalog, installation, len(walks)), vault, sql)
            walks.append(walk)
            fancy = Fancy(random)
            try:
                first = [doc for doc in EVERYTHING if doc.name == "a" or fancy.maybe()]
                await walk.apply([(doc, "none") for doc in first])
                for _ in range(LENGTH):
                    await fancy.step(walk)
                await walk.agree()
            except AssertionError as error:
                error.add_note("\n".join(["The changes, the last one last:", *walk.person.notes]))
                raise

        await tried(sequence, 10, random=st.randoms(use_true_random=True))
        await outbox_is_empty(installation)
        for walk in walks:
            for space, project in walk.person.projects.items():
                told = await published(installation, project)
                seen = [(each.change, each.kind, each.name, each.version, each.generation) for each in told]
                assert seen == walk.world.log[space], "each change is told once, in order"
    done = Counter(status for walk in walks for status in walk.statuses)
    print(f"{len(walks)} sequences, {done.total()} changes: {sorted(done.items())}")
    assert {name for name, status in done if status < 300} == {*STEPS, "dry run"}
    assert sum(walk.broken for walk in walks), "something was referred to from elsewhere and deleted"
    assert {status for _, status in done} == {200, 201, 204, 404, 409, 422}


# -- what the sequences have found ------------------------------------------------------------------------


async def test_default_is_the_own_namespace_wherever_it_is_written(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        person = await Person.new(catalog, installation, 1)
        for plural in ("ghosts", "shells"):
            await person.request("POST", plural, person.document(Doc(HOME, plural, "a", SMALL[plural]), None))
        home = {"name": "a", "namespace": "default"}
        bot = person.document(
            Doc(OTHER, "bots", "b", {"ghostRef": home, "shellRef": home}), person.slugs[OTHER]
        )
        made = await person.request("POST", "bots", bot)
        assert made.status_code == 201, made.text
        there = {"name": "a", "namespace": person.slugs[HOME]}
        assert made.json()["spec"] == {"ghostRef": there, "shellRef": there}
        assert actions(await person.apply(json.dumps(bot))) == {"unchanged": 1}


SMALL: dict[str, Spec] = {"ghosts": {"systemPrompt": "One."}, "shells": {"shellType": "Chat"}}


async def test_pages_of_what_was_deleted_together_leave_nothing_out(installation: Installation) -> None:
    names = [f"ghost-{n}" for n in range(7)]
    async with catalog_of(installation) as catalog:
        person = await Person.new(catalog, installation, 1)
        docs = [Doc(HOME, "ghosts", name, SMALL["ghosts"], {"tier": "x"}) for name in names]
        assert actions(await person.apply(person.text(docs))) == {"created": 7}
        other = Doc(HOME, "shells", "a", SMALL["shells"])
        gone = await person.apply(person.text([other]), prune="true", labelSelector="tier=x")
        assert actions(gone) == {"created": 1, "deleted": 7}
        deleted = (await person.get("ghosts", HOME, deleted="true"))["items"]
        uids = {item["metadata"]["uid"] for item in deleted}
        assert len(uids) == 7
        for limit in (1, 2, 3, 7, 8):
            seen = await paged_through(person, "ghosts", HOME, limit=limit)
            assert sorted(seen) == sorted(uids), f"{limit} on a page"


NUMBERS = (0, -0.0, 1, 1.0, 0.1, 1e-7, 5e-324, -(2**53) - 1, 1e15, 1e16, 9e18, 2**63 - 1)
TOO_LARGE = (1e22, 1e23, -1e23, 1.7e308)
"""As far as these are taken at all: the database writes them out as integers."""


async def test_a_number_is_the_same_when_it_comes_again(installation: Installation) -> None:
    def doc(name: str, number: float) -> Doc:
        spec = {"systemPrompt": "One.", "number": number, "within": [{"it": number}]}
        return Doc(HOME, "ghosts", name, spec)

    async with catalog_of(installation) as catalog:
        person = await Person.new(catalog, installation, 1)
        docs = [doc(f"g{n}", number) for n, number in enumerate(NUMBERS)]
        text = person.text(docs)
        assert actions(await person.apply(text)) == {"created": len(docs)}
        again = (await person.apply(text)).json()["items"]
        moved = [
            d.spec["number"] for d, item in zip(docs, again, strict=True) if item["action"] != "unchanged"
        ]
        assert moved == [], "taken for other numbers than they were"
        for key, item in (await listed(person)).items():
            assert item["spec"] == next(doc.spec for doc in docs if doc.key == key)
            answer = await person.request("PUT", f"ghosts/{key[2]}", item)
            assert (answer.status_code, answer.json()["metadata"]["generation"]) == (200, 1)
        for n, number in enumerate(TOO_LARGE):
            large = doc(f"large{n}", number)
            first = await person.apply(person.text([large]))
            if first.status_code != 422:
                assert actions(await person.apply(person.text([large]))) == {"unchanged": 1}, number
            put = await person.request("POST", "ghosts", person.document(doc(f"put{n}", number), None))
            assert put.status_code in (201, 422), put.text
            if put.status_code == 201:
                same = await person.request("PUT", f"ghosts/put{n}", put.json())
                assert (same.status_code, same.json()["metadata"]["generation"]) == (200, 1), number
