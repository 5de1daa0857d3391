"""Projects and their members: who may do what, and who may change that."""

import asyncio
from typing import Any

import pytest

from tests.support.installation import Http, Installation
from tests.support.pace import promptly

PROJECTS = "/api/v1/projects"


async def test_a_project_is_changed_by_who_was_not_too_late(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        me = await http.sign_up()
        where = f"{PROJECTS}/{await http.project(me)}"
        tag = (await http.get(where, headers=me)).headers["ETag"]
        changed = await http.patch(where, json={"name": "New"}, headers=me | {"If-Match": tag})
        assert (changed.status_code, changed.json()["name"]) == (200, "New")
        late = await http.patch(where, json={"name": "Newer"}, headers=me | {"If-Match": tag})
        assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
        tag = (await http.get(where, headers=me)).headers["ETag"]
        answers = await asyncio.gather(
            *(
                http.patch(where, json={"name": f"Racer {n}"}, headers=me | {"If-Match": tag})
                for n in range(6)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412, 412]
        empty = await http.patch(where, json={}, headers=me)
        assert (empty.status_code, empty.json()["code"]) == (422, "nothing_to_change")
        bad = await http.patch(where, json={"name": "x"}, headers=me | {"If-Match": "nonsense"})
        assert (bad.status_code, bad.json()["code"]) == (422, "bad_etag")


async def test_a_deleted_project_is_gone_until_an_owner_restores_it(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        owner = await http.sign_up()
        project = await http.project(owner, "Doomed")
        viewer = await http.join(owner, project, "viewer")
        where = f"{PROJECTS}/{project}"
        assert (await http.delete(where, headers=viewer)).json()["code"] == "role_too_low"
        assert (await http.delete(where, headers=owner)).status_code == 204

        for headers in (owner, viewer):
            assert (await http.get(where, headers=headers)).status_code == 404
            listed = (await http.get(PROJECTS, headers=headers)).json()["items"]
            assert [item["personal"] for item in listed] == [True]
        deleted = (await http.get(PROJECTS, params={"deleted": "true"}, headers=owner)).json()["items"]
        assert [item["id"] for item in deleted] == [project]
        slug = deleted[0]["slug"]
        taken = await http.post(PROJECTS, json={"name": "x", "slug": slug}, headers=owner)
        assert taken.json()["code"] == "slug_taken", "its name waits for it"

        assert (await http.post(f"{where}/restore", headers=viewer)).status_code == 404
        assert (await http.post(f"{where}/restore", headers=owner)).status_code == 200
        assert (await http.get(where, headers=viewer)).status_code == 200
        assert (await http.post(f"{where}/restore", headers=owner)).status_code == 404, "it is not deleted"

        personal = next(
            item["id"]
            for item in (await http.get(PROJECTS, headers=owner)).json()["items"]
            if item["personal"]
        )
        kept = await http.delete(f"{PROJECTS}/{personal}", headers=owner)
        assert (kept.status_code, kept.json()["code"]) == (409, "personal_project")


async def test_nobody_gives_or_takes_a_role_above_their_own(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        owner = await http.sign_up()
        project = await http.project(owner)
        maintainer = await http.join(owner, project, "maintainer")
        developer = await http.join(owner, project, "developer")
        members = f"{PROJECTS}/{project}/members"
        owner_id, developer_id = (await http.me(owner))["id"], (await http.me(developer))["id"]
        stranger = (await http.me(await http.sign_up()))["id"]

        async def refused(answer: Any) -> str:
            assert answer.status_code == 403, answer.text
            return str(answer.json()["code"])

        post, patch, delete = http.post, http.patch, http.delete
        promoted = {"userId": stranger, "role": "owner"}
        assert await refused(await post(members, json=promoted, headers=maintainer)) == "role_too_low"
        viewer = {"userId": stranger, "role": "viewer"}
        assert await refused(await post(members, json=viewer, headers=developer)) == "role_too_low"
        up = await patch(f"{members}/{developer_id}", json={"role": "owner"}, headers=maintainer)
        assert await refused(up) == "role_too_low"
        down = await patch(f"{members}/{owner_id}", json={"role": "viewer"}, headers=maintainer)
        assert await refused(down) == "role_too_low"
        assert await refused(await delete(f"{members}/{owner_id}", headers=maintainer)) == "role_too_low"
        assert await refused(await delete(f"{members}/{owner_id}", headers=developer)) == "role_too_low"

        added = await post(members, json=viewer, headers=maintainer)
        assert (added.status_code, added.json()["role"]) == (201, "viewer")
        again = await post(members, json=viewer, headers=maintainer)
        assert (again.status_code, again.json()["code"]) == (409, "already_member")
        nobody = await post(members, json={"username": "nobody-there", "role": "viewer"}, headers=owner)
        assert (nobody.status_code, nobody.json()["code"]) == (404, "user_not_found")
        listed = (await http.get(members, headers=developer)).json()["items"]
        assert {item["userId"]: item["role"] for item in listed}[stranger] == "viewer"
        assert (await delete(f"{members}/{developer_id}", headers=developer)).status_code == 204, "may leave"

        async def gone() -> bool:
            return (await http.get(members, headers=developer)).status_code == 404

        await promptly(gone)


@pytest.mark.fresh
async def test_the_last_owner_stays_even_when_two_leave_at_once(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        first = await http.sign_up()
        project = await http.project(first)
        members = f"{PROJECTS}/{project}/members"
        first_id = (await http.me(first))["id"]
        alone = await http.delete(f"{members}/{first_id}", headers=first)
        assert (alone.status_code, alone.json()["code"]) == (409, "last_owner")
        demoted = await http.patch(f"{members}/{first_id}", json={"role": "viewer"}, headers=first)
        assert demoted.json()["code"] == "last_owner"

        second = await http.join(first, project, "owner")
        second_id = (await http.me(second))["id"]
        answers = await asyncio.gather(
            http.delete(f"{members}/{first_id}", headers=first),
            http.delete(f"{members}/{second_id}", headers=second),
        )
        assert sorted(answer.status_code for answer in answers) == [204, 409]
        assert await installation.count("auth.members", f"project_id = '{project}'") == 1


@pytest.mark.fresh
async def test_a_changed_role_counts_everywhere_at_once(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http, installation.gateway() as other:
        owner = await http.sign_up()
        project = await http.project(owner)
        member = await http.join(owner, project, "maintainer")
        member_id = (await http.me(member))["id"]
        where = f"{PROJECTS}/{project}"
        for gateway in (http, other):
            assert (await gateway.patch(where, json={"name": "x"}, headers=member)).status_code == 200
        changed = await http.patch(f"{where}/members/{member_id}", json={"role": "viewer"}, headers=owner)
        assert changed.status_code == 200

        async def counts_in(gateway: Http) -> bool:
            return (await gateway.patch(where, json={"name": "y"}, headers=member)).status_code == 403

        for gateway in (http, other):
            await promptly(lambda gateway=gateway: counts_in(gateway))  # type: ignore[misc]  # the loop's own
            assert (await gateway.get(where, headers=member)).json()["role"] == "viewer"
        await http.delete(f"{where}/members/{member_id}", headers=owner)

        async def gone(gateway: Http) -> bool:
            return (await gateway.get(where, headers=member)).status_code == 404

        for gateway in (http, other):
            await promptly(lambda gateway=gateway: gone(gateway))  # type: ignore[misc]  # as above


async def test_info_says_what_one_may_do(installation: Installation) -> None:
    async with installation.running_auth(), installation.gateway() as http:
        owner = await http.sign_up()
        project = await http.project(owner)
        viewer = await http.join(owner, project, "viewer")
        info = (await http.get("/api/v1/info", params={"projectId": project}, headers=owner)).json()
        assert info["project"] == {"id": project, "role": "owner"}
        assert "auth.delete-project" in info["may"]
        assert "auth.list-users" not in info["may"]
        less = (await http.get("/api/v1/info", params={"projectId": project}, headers=viewer)).json()
        assert "auth.get-project" in less["may"]
        assert not {"auth.delete-project", "auth.update-project", "auth.add-member"} & set(less["may"])
        alone = (await http.get("/api/v1/info", headers=viewer)).json()
        assert alone["project"] is None
        assert "auth.create-project" in alone["may"]
        assert "auth.get-project" not in alone["may"]
        stranger = await http.sign_up()
        other = await http.get("/api/v1/info", params={"projectId": project}, headers=stranger)
        assert other.status_code == 404
