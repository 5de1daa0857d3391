"""Quotas: set by administrators alone, looked at by owners, and known as they were set last."""

import itertools
import random
import uuid
from typing import Any

import pytest

from signalbox_common.contracts.auth import QuotaLimits, QuotaName, QuotasChanged
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.runtime import Service
from signalbox_common.testing import eventually, running
from tests.support.installation import Http, Installation

PROJECTS = "/api/v1/projects"
DEFAULTS = {
    "liveSandboxes": None,
    "queuedTasks": 10_000,
    "runningTasks": 16,
    "storageBytes": None,
    "tokensPerMonth": None,
    "costPerMonth": None,
    "resources": 100_000,
    "catalogBytes": 1024**3,
    "packageBytes": 256 * 1024**2,
    "apiTokens": 1_000,
}


async def put(http: Http, project: str, status: int = 200, **limits: Any) -> Any:
    path, headers = f"{PROJECTS}/{project}/quotas", await http.administrator()
    answer = await http.put(path, json=limits, headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_what_is_set_counts_and_the_rest_is_as_the_installation_has_it(
    installation: Installation,
) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        owner = await http.sign_up()
        project = await http.project(owner)
        where = f"{PROJECTS}/{project}/quotas"
        found = (await http.get(where, headers=owner)).json()
        assert found == {"projectId": project, "limits": DEFAULTS, "given": [], "version": 0}
        given: dict[str, Any] = {"queuedTasks": None, "liveSandboxes": 5, "costPerMonth": 12.5}
        found = await put(http, project, **given)
        assert (found["limits"], found["version"]) == (DEFAULTS | given, 1)
        assert set(found["given"]) == set(given)
        assert (await http.get(where, headers=owner)).json() == found
        found = await put(http, project, tokensPerMonth=0)
        assert (found["limits"], found["version"]) == (DEFAULTS | {"tokensPerMonth": 0}, 2)
        assert (await put(http, project))["limits"] == DEFAULTS


@pytest.mark.parametrize("bad", [{"liveSandboxes": -1}, {"queuedTasks": 1.5}, {"storageBytes": 2**60}])
async def test_what_is_no_bound_is_refused(installation: Installation, bad: dict[str, Any]) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        project = await http.project(await http.sign_up())
        assert (await put(http, project, 422, **bad))["code"] == "validation_failed"


async def test_who_may_set_them_and_who_looks(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        owner = await http.sign_up()
        project = await http.project(owner)
        where = f"{PROJECTS}/{project}/quotas"
        maintainer, stranger = await http.join(owner, project, "maintainer"), await http.sign_up()
        for headers in (owner, maintainer, stranger):
            refused = await http.put(where, json={"liveSandboxes": 1_000}, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "admin_required")
        assert (await http.get(where, headers=maintainer)).json()["code"] == "role_too_low"
        assert (await http.get(where, headers=stranger)).json()["code"] == "project_not_found"
        admin = await http.administrator()
        assert (await http.get(where, headers=admin)).status_code == 200
        nowhere = f"{PROJECTS}/{uuid.uuid4()}/quotas"
        for answer in (
            await http.get(nowhere, headers=admin),
            await http.put(nowhere, json={}, headers=admin),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "project_not_found")
        await put(http, project, liveSandboxes=3)

        async def written() -> bool:
            audit = await http.get(
                f"{PROJECTS}/{project}/audit", params={"action": "auth.set-quotas"}, headers=owner
            )
            entries = audit.json()["items"]
            return [entry["resource"] for entry in entries if entry["outcome"] == "succeeded"] == [project]

        await eventually(written, what="its owners are told who has set them")
        assert (await http.delete(f"{PROJECTS}/{project}", headers=owner)).status_code == 204
        assert (await put(http, project, 404))["code"] == "project_not_found"


async def test_members_are_not_told(installation: Installation) -> None:
    """What it may have is for its owners: the fact is none of the project's."""
    async with installation.running_auth(), installation.gateway() as http:
        project = await http.project(await http.sign_up())
        await put(http, project, liveSandboxes=3)

        async def told() -> bool:
            return bool(await installation.messages("EVENTS", "evt._.auth.quotas.changed"))

        await eventually(told)
        assert not await installation.messages("EVENTS", f"evt.{project}.auth.quotas.changed")


async def test_the_last_ones_count_in_whatever_order_they_come(installation: Installation) -> None:
    async with running(Service(installation.lab())) as service:
        for seed in range(5):
            quotas, project = ProjectQuotas("tasks", QuotaLimits(queued_tasks=9)), uuid.uuid4()
            told = [
                QuotasChanged(
                    project=project,
                    limits=QuotaLimits(running_tasks=version),
                    given=(QuotaName.RUNNING_TASKS,),
                    version=version,
                )
                for version in (1, 2, 3, 3)
            ]
            random.Random(seed).shuffle(told)
            for each in itertools.chain(told, told[:1]):
                async with service.database.transaction() as transaction:
                    await quotas.save(transaction, each)
            async with service.database.reading() as connection:
                found = await quotas.of(connection, project)
            assert (found.limits, found.version) == (QuotaLimits(running_tasks=3, queued_tasks=9), 3)
