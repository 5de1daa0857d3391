"""Resources: deleted while nobody needs them, brought back where there is room, and set back."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest
from pydantic import Secret

from signalbox_catalog import errors
from signalbox_catalog.service.access import AccessResolver
from signalbox_catalog.service.changes import Changes
from signalbox_catalog.service.quotas import CatalogQuotas
from signalbox_catalog.service.reading import Reading
from signalbox_catalog.service.vault import Vault
from signalbox_common.bus import Bus
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.auth import QuotaLimits
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.limiter import ProjectLimiter
from signalbox_common.principal import Principal
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.secrets import KeyFile, LocalSecrets
from tests.support.lab import LabSettings
from tests.support.usecases import Scene, principal

KEY = "a key of these tests, long enough for all"


@pytest.fixture
def ada() -> Principal:
    return principal(project_id=uuid7(), namespace="ada")


@pytest.fixture
def changes(catalog: Scene, tmp_path: Path) -> Changes:
    """On a bus that is not started: nobody here looks into another namespace."""
    vault = Vault(LocalSecrets(catalog.database, KeyFile(tmp_path / "catalog.keys", KEY)), KEY)
    quotas = CatalogQuotas(ProjectQuotas("catalog", QuotaLimits()))
    access = AccessResolver(Bus(LabSettings(service="catalog")))
    return Changes(catalog.database, vault, quotas, access, ProjectLimiter())


@pytest.fixture
async def ghost(catalog: Scene, changes: Changes, ada: Principal) -> contract.Resource:
    """One with a skill, which it refers to."""
    await catalog.do(changes.create, _create("skills", "craft", description="Checks style."), ada)
    spec = {"systemPrompt": "Write.", "skills": ["craft"]}
    return await catalog.do(changes.create, _create("ghosts", "spirit", **spec), ada)


def _create(plural: str, name: str, **spec: Any) -> contract.CreateResource:
    return contract.CreateResource(plural=plural, manifest=_manifest(name, spec))


def _manifest(name: str, spec: dict[str, Any]) -> Secret[dict[str, Any]]:
    return Secret[dict[str, Any]]({"metadata": {"name": name}, "spec": spec})


async def _refused(answer: Awaitable[object]) -> str:
    with pytest.raises(SignalboxError) as refused:
        await answer
    return refused.value.code


async def _names(catalog: Scene, ada: Principal, plural: str) -> list[str]:
    found = await catalog.do(Reading(catalog.database).page, contract.ListResources(plural=plural), ada)
    return [each.metadata.name for each in found.items]


async def test_nothing_is_deleted_that_somebody_refers_to(
    catalog: Scene, changes: Changes, ada: Principal, ghost: contract.Resource
) -> None:
    delete = contract.DeleteResource(plural="skills", name="craft")
    assert await _refused(catalog.do(changes.delete, delete, ada)) == errors.StillReferenced.code
    assert await _names(catalog, ada, "skills") == ["craft"]
    before = await catalog.told()
    await catalog.do(changes.delete, delete.model_copy(update={"cascade": True}), ada)
    told = [(subject.partition(".catalog.")[2], body["name"]) for subject, body in await catalog.told()]
    assert told[len(before) :] == [
        ("resource.deleted", ghost.metadata.name),
        ("resource.deleted", "craft"),
    ], "whoever refers goes first"
    assert await _names(catalog, ada, "ghosts") == await _names(catalog, ada, "skills") == []


async def test_what_moved_is_neither_deleted_nor_set_back(
    catalog: Scene, changes: Changes, ada: Principal, ghost: contract.Resource
) -> None:
    seen = ghost.metadata.resource_version
    replace = contract.ReplaceResource(
        plural="ghosts", name="spirit", manifest=_manifest("spirit", {"systemPrompt": "Draw."})
    )
    await catalog.do(changes.replace, replace, ada)
    one = {"plural": "ghosts", "name": "spirit", "expected_version": seen}
    moved = errors.VersionMoved.code
    assert await _refused(catalog.do(changes.delete, contract.DeleteResource(**one), ada)) == moved
    back = contract.RollBackResource(**one, generation=1)
    assert await _refused(catalog.do(changes.roll_back, back, ada)) == moved
    again = replace.model_copy(update={"expected_version": seen})
    assert await _refused(catalog.do(changes.replace, again, ada)) == moved


async def test_an_older_generation_becomes_a_new_one(
    catalog: Scene, changes: Changes, ada: Principal, ghost: contract.Resource
) -> None:
    manifest = _manifest("spirit", {"systemPrompt": "Draw."})
    replace = contract.ReplaceResource(plural="ghosts", name="spirit", manifest=manifest)
    await catalog.do(changes.replace, replace, ada)
    back = contract.RollBackResource(plural="ghosts", name="spirit", generation=1)
    after = await catalog.do(changes.roll_back, back, ada)
    assert (after.metadata.generation, after.spec) == (3, ghost.spec)
    same = await catalog.do(changes.roll_back, back, ada)
    assert same == after, "nothing to change, so nothing is changed"
    unknown = contract.RollBackResource(plural="ghosts", name="spirit", generation=9)
    assert await _refused(catalog.do(changes.roll_back, unknown, ada)) == errors.GenerationNotFound.code


async def test_what_is_deleted_comes_back_where_there_is_room(
    catalog: Scene, changes: Changes, ada: Principal, ghost: contract.Resource
) -> None:
    one = {"plural": "ghosts", "name": "spirit"}
    restore = contract.RestoreResource(**one)
    assert await _refused(catalog.do(changes.restore, restore, ada)) == errors.AlreadyExists.code
    await catalog.do(changes.delete, contract.DeleteResource(**one), ada)
    back = await catalog.do(changes.restore, restore, ada)
    assert (back.metadata.uid, back.spec) == (ghost.metadata.uid, ghost.spec)
    await catalog.do(changes.delete, contract.DeleteResource(**one, cascade=True), ada)
    await catalog.do(changes.delete, contract.DeleteResource(plural="skills", name="craft"), ada)
    code = await _refused(catalog.do(changes.restore, restore, ada))
    assert code == "validation_failed", "what it refers to is gone"
    never = contract.RestoreResource(plural="ghosts", name="nobody")
    assert await _refused(catalog.do(changes.restore, never, ada)) == errors.NothingDeleted.code


async def test_another_namespace_has_none_of_it(
    catalog: Scene, changes: Changes, ghost: contract.Resource
) -> None:
    bob = principal(project_id=uuid7(), namespace="bob")
    delete = contract.DeleteResource(plural="ghosts", name=ghost.metadata.name)
    assert await _refused(catalog.do(changes.delete, delete, bob)) == errors.ResourceNotFound.code
    borrow = _create("ghosts", "spirit", systemPrompt="Write.", skills=["craft"])
    assert await _refused(catalog.do(changes.create, borrow, bob)) == "validation_failed"
