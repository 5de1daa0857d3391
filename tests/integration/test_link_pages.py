"""The pages that links lead to which are good once, in a browser."""

import json

import pytest

from tests.support.chromium import Page, browser, find
from tests.support.factories import LOGIN, registered
from tests.support.installation import PASSWORD, Installation

CHROMIUM = find()
ANOTHER = "quite another long password"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


async def _open(page: Page, link: str, form: str) -> None:
    await page.call("Page.navigate", url=link)
    await page.until(
        f"location.pathname === '/{form}' && document.getElementById('{form}')?.hidden === false"
    )
    assert await page.evaluate("location.hash") == "", "nobody reads it over a shoulder, or in the history"


async def _submit(page: Page, form: str, fields: dict[str, str]) -> None:
    await page.evaluate(
        f"(fields => {{ const form = document.getElementById('{form}');"
        " for (const name in fields) form.elements[name].value = fields[name];"
        f" form.requestSubmit(); }})({json.dumps(fields)}); undefined"
    )


async def test_a_new_password_is_chosen_and_an_invitation_taken(installation: Installation) -> None:
    async with (
        installation.running_auth(),
        installation.served_gateway() as (http, _),
        browser(CHROMIUM or "") as page,
    ):
        admin, person = await http.administrator(), await registered(http)
        made = await http.post(f"/api/v1/users/{person.id}/password-reset", headers=admin)
        await _open(page, made.json()["link"], "new-password")
        await _submit(page, "new-password", {"newPassword": ANOTHER, "again": ANOTHER + "!"})
        await page.until("document.getElementById('message').textContent === 'The two are not the same.'")
        await _submit(page, "new-password", {"newPassword": ANOTHER, "again": ANOTHER})
        await page.until("document.getElementById('message').textContent.startsWith('It is set.')")
        login = {"username": person.username, "password": ANOTHER}
        assert (await http.post(LOGIN, json=login)).status_code == 200

        invited = await http.post("/api/v1/users/invitations", json={}, headers=admin)
        await _open(page, invited.json()["link"], "join")
        name = f"{person.username}-guest"
        fields = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
        await _submit(page, "join", fields)
        await page.until("document.getElementById('message').textContent.startsWith('Welcome')")
        assert (await http.post(LOGIN, json={"username": name, "password": PASSWORD})).status_code == 200
        again = fields | {"username": f"{name}-2", "invitation": invited.json()["token"]}
        spent = await http.post("/api/v1/auth/register", json=again)
        assert spent.json()["code"] == "bad_invitation"
        await page.call("Page.navigate", url=f"{invited.json()['link'].partition('#')[0]}")
        await page.until("document.getElementById('message').textContent === 'This link is not whole.'")
