"""The commands of administrators: people, invitations, forgotten passwords."""

import uuid
from pathlib import Path

from tests.support.installation import PASSWORD, Installation
from tests.support.shopkeeper import person_of


async def test_an_administrator_invites_and_resets(installation: Installation, tmp_path: Path) -> None:
    async with person_of(installation, tmp_path) as person:
        assert "This is for administrators." in await person.err("users", "ls")
        admin = await person.http.administrator()
        person.env["SIGNALBOX_TOKEN"] = admin["Authorization"].removeprefix("Bearer ")
        name = f"guest-{uuid.uuid4().hex[:10]}"
        link = (await person.out("users", "invite", "--email", f"{name}@example.com")).splitlines()[0]
        assert "/join#sbx_link_" in link
        body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        token = link.partition("#")[2]
        made = await person.http.post("/api/v1/auth/register", json=body | {"invitation": token})
        assert made.status_code == 201, made.text
        assert '"emailConfirmed": false' in await person.out("users", "ls", name, "--json")
        assert name in await person.out("users", "ls", name)
        listed = await person.out("users", "invitations", "--json")
        assert '"status": "used"' in listed
        assert token not in listed
        await person.out("users", "invite")
        waiting = (await person.out("users", "invitations")).splitlines()[1].split()
        assert "open" in waiting
        assert "not good any more" in await person.out("users", "revoke", waiting[0])
        assert "no such invitation" in await person.err("users", "revoke", waiting[0])
        reset = (await person.out("users", "reset-password", name.upper())).splitlines()[0]
        assert "/new-password#sbx_link_" in reset
        missing = await person.err("users", "reset-password", name[:-1])
        assert f"there is no user {name[:-1]!r}" in missing


async def test_an_owner_invites_into_a_project(installation: Installation, tmp_path: Path) -> None:
    async with person_of(installation, tmp_path) as person:
        project = await person.http.project(person.headers)
        out = await person.out("users", "invite", "--project", project, "--role", "viewer", "--days", "1")
        assert "/join#sbx_link_" in out
        assert "as viewer" in await person.out("users", "invitations", "--project", project)
        assert "administrators" in await person.err("users", "invite")
