"""Passwords that are forgotten, addresses that are changed, names that look like others', and invitations."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from signalbox_common.contracts.auth import UpdateMe
from signalbox_common.testing import running
from tests.support.factories import LOGIN, Person, bearer, registered, signed_in
from tests.support.installation import ADMIN_PASSWORD, PASSWORD, Http, Installation
from tests.support.mailbox import Mailbox, links_in, text_of
from tests.support.pace import promptly

pytestmark = pytest.mark.fresh  # settings of their own, and names that are taken once

REGISTER, ME, CHANGE, TOKENS = (f"/api/v1/auth/{name}" for name in ("register", "me", "password", "tokens"))
RESET, FORGOT, CONFIRM = (
    "/api/v1/auth/password/reset",
    "/api/v1/auth/password/forgot",
    "/api/v1/auth/email/confirm",
)
INVITATIONS = "/api/v1/users/invitations"
ANOTHER = "quite another long password"
PUBLIC = "https://signalbox.example.com"


@asynccontextmanager
async def served(installation: Installation, **changes: Any) -> AsyncIterator[Http]:
    """With an administrator."""
    auth = installation.auth(admin_password=ADMIN_PASSWORD, **changes)
    async with running(auth), installation.gateway() as http:
        yield http


@asynccontextmanager
async def mailing(installation: Installation, mailbox: Mailbox, **changes: Any) -> AsyncIterator[Http]:
    async with (
        mailbox.listening(),
        served(installation, smtp_url=SecretStr(mailbox.url), public_url=PUBLIC, **changes) as http,
    ):
        yield http


def body(name: str, **more: Any) -> dict[str, Any]:
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD} | more


def said(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def administrator(http: Http) -> dict[str, str]:
    return (await signed_in(http, "admin", ADMIN_PASSWORD)).headers


async def login(http: Http, password: str, **who: str) -> int:
    return (await http.post(LOGIN, json=who | {"password": password})).status_code


async def is_out(http: Http, *people: Person) -> None:
    async def out() -> bool:
        answers = [await http.get(ME, headers=each.headers) for each in people]
        return {answer.status_code for answer in answers} == {401}

    await promptly(out, what="the sessions have ended")


# -- a forgotten password ------------------------------------------------------------------------------


async def test_a_link_of_an_administrator_sets_a_password_once(installation: Installation) -> None:
    async with served(installation) as http:
        admin, person = await administrator(http), await registered(http, "forgetful")
        token = await http.post(TOKENS, json={"name": "t"}, headers=person.headers)
        path = f"/api/v1/users/{person.id}/password-reset"
        first, made = [(await http.post(path, headers=admin)) for _ in range(2)]
        assert made.status_code == 201, made.text
        assert made.headers["Cache-Control"] == "no-store"
        link = made.json()
        assert link["link"] == f"http://gateway/new-password#{link['token']}"
        assert (link["username"], link["mailed"]) == ("forgetful", False)
        new = {"newPassword": ANOTHER}
        assert said(await http.post(RESET, json=new | {"token": first.json()["token"]})) == (403, "bad_link")
        weak = await http.post(RESET, json={"token": link["token"], "newPassword": "password1234"})
        assert said(weak) == (422, "weak_password"), "and the link stays good"
        done = await http.post(RESET, json=new | {"token": link["token"]})
        assert (done.status_code, done.json()) == (200, {"tokensEnded": 0, "tokensRemaining": 1})
        assert said(await http.post(RESET, json=new | {"token": link["token"]})) == (403, "bad_link")
        await is_out(http, person)
        assert await login(http, PASSWORD, username="forgetful") == 401
        assert await login(http, ANOTHER, username="forgetful") == 200
        assert (await http.get(ME, headers=bearer(token.json()["token"]))).status_code == 200

        async with installation.sql() as connection:
            tables = ("auth.links", "auth.audit", "auth.work", "auth.inbox")
            stored = [str(await connection.fetch(f"select * from {table}")) for table in tables]
        assert not any(link["token"] in rows or first.json()["token"] in rows for rows in stored)


async def test_of_twenty_who_come_with_a_link_one_sets_the_password(installation: Installation) -> None:
    async with served(installation) as http:
        admin, person = await administrator(http), await registered(http)
        link = (await http.post(f"/api/v1/users/{person.id}/password-reset", headers=admin)).json()
        wishes = [{"token": link["token"], "newPassword": f"{ANOTHER} {number}"} for number in range(20)]
        answers = await asyncio.gather(*(http.post(RESET, json=wish) for wish in wishes))
        assert sorted(answer.status_code for answer in answers) == [200] + [403] * 19
        good = [wish for wish, answer in zip(wishes, answers, strict=True) if answer.status_code == 200]
        assert await login(http, good[0]["newPassword"], username=person.username) == 200


@pytest.mark.parametrize("end", ["time", "deactivated", "changed"])
async def test_a_link_ends(installation: Installation, end: str) -> None:
    async with served(installation) as http:
        admin, person = await administrator(http), await registered(http)
        link = (await http.post(f"/api/v1/users/{person.id}/password-reset", headers=admin)).json()
        if end == "time":
            async with installation.sql() as connection:
                await connection.execute("update auth.links set expires_at = now() - interval '1 second'")
        elif end == "deactivated":
            assert (await http.delete(f"/api/v1/users/{person.id}", headers=admin)).status_code == 204
        else:
            change = {"currentPassword": PASSWORD, "newPassword": ANOTHER}
            assert (await http.post(CHANGE, json=change, headers=person.headers)).status_code == 204
        late = await http.post(RESET, json={"token": link["token"], "newPassword": f"{ANOTHER}!"})
        assert said(late) == (403, "bad_link")


async def test_links_are_for_people_who_are_there(installation: Installation) -> None:
    async with served(installation) as http:
        admin, person = await administrator(http), await registered(http)
        project = await http.project(person.headers)
        account = await http.post(
            f"/api/v1/projects/{project}/service-accounts", json={"name": "robot"}, headers=person.headers
        )
        for user in (str(uuid.uuid4()), account.json()["id"]):
            answer = await http.post(f"/api/v1/users/{user}/password-reset", headers=admin)
            assert said(answer) == (404, "user_not_found")
        mailed = await http.post(
            f"/api/v1/users/{person.id}/password-reset", json={"mail": True}, headers=admin
        )
        assert said(mailed) == (409, "no_mail")
        assert said(await http.post(FORGOT, json={"email": "any@example.com"})) == (409, "no_mail")


async def test_a_link_comes_by_mail_even_if_the_relay_was_away(installation: Installation) -> None:
    mailbox = Mailbox(refusing=1)
    async with mailing(installation, mailbox) as http:
        person = await registered(http, "forgetful")
        first = await mailbox.next_to("forgetful@example.com")
        assert mailbox.turned_away == 1
        assert (await http.post(CONFIRM, json={"token": links_in(first)[0]})).status_code == 204
        assert (await http.me(person.headers))["emailConfirmed"] is True

        known, unknown = [
            await http.post(FORGOT, json={"email": email})
            for email in ("forgetful@example.com", "nobody@example.com")
        ]
        assert (known.status_code, known.content) == (unknown.status_code, unknown.content) == (204, b"")
        letter = await mailbox.next_to("forgetful@example.com", known=1)
        assert f"{PUBLIC}/new-password#" in text_of(letter)
        (token,) = links_in(letter)
        done = await http.post(RESET, json={"token": token, "newPassword": ANOTHER, "endTokens": True})
        assert done.json() == {"tokensEnded": 0, "tokensRemaining": 0}
        await is_out(http, person)
        assert await login(http, ANOTHER, email="forgetful@example.com") == 200
        assert mailbox.signed_in[0] == b"\0signalbox\0p@ss"

        for _ in range(3):
            await http.post(FORGOT, json={"email": "Forgetful@example.com"})

        async def handled() -> bool:
            return await installation.count("auth.work", "kind = 'letter'") == 0

        await promptly(handled, what="all letters are written, or not worth it")
        assert len(mailbox.to("forgetful@example.com")) == 2, "nobody's mailbox is filled by strangers"
        assert mailbox.to("nobody@example.com") == []
        async with installation.sql() as connection:
            assert token not in str(await connection.fetch("select * from auth.links"))


# -- a changed password --------------------------------------------------------------------------------


async def test_a_changed_password_offers_to_end_tokens(installation: Installation) -> None:
    async with served(installation) as http:
        person = await registered(http)
        made = [
            (await http.post(TOKENS, json={"name": name}, headers=person.headers)).json() for name in "abc"
        ]
        await http.delete(f"{TOKENS}/{made[0]['id']}", headers=person.headers)
        change = {"currentPassword": PASSWORD, "newPassword": ANOTHER, "endTokens": False}
        kept = await http.post(CHANGE, json=change, headers=person.headers)
        assert (kept.status_code, kept.json()) == (200, {"tokensEnded": 0, "tokensRemaining": 2})
        change = {"currentPassword": ANOTHER, "newPassword": PASSWORD, "endTokens": True}
        ended = await http.post(CHANGE, json=change, headers=person.headers)
        assert (ended.status_code, ended.json()) == (200, {"tokensEnded": 2, "tokensRemaining": 0})

        async def gone() -> bool:
            answers = [await http.get(ME, headers=bearer(token["token"])) for token in made]
            return {answer.status_code for answer in answers} == {401}

        await promptly(gone, what="no token counts any more")


# -- addresses -----------------------------------------------------------------------------------------


async def test_another_address_takes_the_password(installation: Installation) -> None:
    """Whoever has got hold of a session takes no account with it, not on the bus either."""
    async with served(installation) as http:
        person = await registered(http, "owner")
        wish = {"email": "thief@example.com"}
        assert said(await http.patch(ME, json=wish, headers=person.headers)) == (422, "password_needed")
        wrong = wish | {"currentPassword": "some guess or other"}
        assert said(await http.patch(ME, json=wrong, headers=person.headers)) == (403, "wrong_password")
        looks_alike = {"email": "owner@ехample.com"}
        answer = await http.patch(ME, json=looks_alike, headers=person.headers)
        assert said(answer) == (422, "password_needed")
        same = await http.patch(ME, json={"email": "owner@example.com"}, headers=person.headers)
        assert same.status_code == 200
        right = {"email": "new@example.com", "currentPassword": PASSWORD, "displayName": "The Owner"}
        changed = await http.patch(ME, json=right, headers=person.headers)
        assert changed.status_code == 200, changed.text
        assert (changed.json()["email"], changed.json()["displayName"]) == ("new@example.com", "The Owner")
        assert await login(http, PASSWORD, email="new@example.com") == 200
        assert await login(http, PASSWORD, email="owner@example.com") == 401
        guesses = [await http.patch(ME, json=wrong, headers=person.headers) for _ in range(20)]
        assert guesses[-1].status_code == 429
    assert UpdateMe.carries_secrets is False, "which is why it takes another message"


async def test_who_was_reached_at_an_address_hears_that_it_was_changed(installation: Installation) -> None:
    mailbox = Mailbox()
    async with mailing(installation, mailbox) as http:
        person = await registered(http, "mover")
        (token,) = links_in(await mailbox.next_to("mover@example.com"))
        assert (await http.post(CONFIRM, json={"token": token})).status_code == 204
        assert said(await http.post(CONFIRM, json={"token": token})) == (403, "bad_link")
        wish = {"email": "moved@example.com", "currentPassword": PASSWORD}
        assert (await http.patch(ME, json=wish, headers=person.headers)).json()["emailConfirmed"] is False
        told = await mailbox.next_to("mover@example.com", known=1)
        assert told["Subject"] == "Your e-mail address was changed"
        (token,) = links_in(await mailbox.next_to("moved@example.com"))
        assert (await http.post(CONFIRM, json={"token": token})).status_code == 204
        assert (await http.me(person.headers))["emailConfirmed"] is True


@pytest.mark.parametrize("mail", [False, True])
async def test_registering_tells_nobody_whether_an_address_is_known(
    installation: Installation, *, mail: bool
) -> None:
    """Nor does signing in with it, nor changing one's own to it; who is reached there hears of it."""
    mailbox = Mailbox()
    async with mailing(installation, mailbox) if mail else served(installation) as http:
        victim = await registered(http, "victim")
        if mail:
            (token,) = links_in(await mailbox.next_to("victim@example.com"))
            assert (await http.post(CONFIRM, json={"token": token})).status_code == 204
        seen = []
        for name, email in (("curious1", "victim@example.com"), ("curious2", "nobody@example.com")):
            answer = await http.post(REGISTER, json=body(name, email=email))
            shape = {key: type(value) for key, value in answer.json().items()}
            shown = await http.me((await signed_in(http, name)).headers)
            by_address = await login(http, PASSWORD, email=email)
            seen.append(
                (answer.status_code, shape, shown["email"] == email, shown["emailConfirmed"], by_address)
            )
        assert seen[0] == seen[1]
        assert seen[0][0] == 201
        assert await login(http, PASSWORD, username="victim") == 200
        changer = await registered(http, "changer")
        wish = {"email": "victim@example.com", "currentPassword": PASSWORD}
        assert (await http.patch(ME, json=wish, headers=changer.headers)).status_code == 200
        if mail:
            told = await mailbox.next_to("victim@example.com", known=1)
            assert "your account victim has" in " ".join(text_of(told).split())
            assert links_in(told) == [], "nothing of it opens anything"
            assert (await http.me(victim.headers))["emailConfirmed"] is True


async def test_an_address_that_is_known_takes_as_long(installation: Installation) -> None:
    async with served(installation) as http:
        await registered(http, "victim")
        times: dict[str, list[float]] = {"victim@example.com": [], "nobody@example.com": []}
        for number in range(12):
            for email, found in times.items():
                name = f"timed-{number}-{email.partition('@')[0]}"
                began = time.perf_counter()
                answer = await http.post(REGISTER, json=body(name, email=email))
                found.append(time.perf_counter() - began)
                assert answer.status_code == 201
        known, unknown = (median(found) for found in times.values())
        assert 0.5 < known / unknown < 2, (known, unknown)


async def test_an_account_is_not_reached_at_what_looks_like_its_address(installation: Installation) -> None:
    """Whoever owns an address that looks alike gets no link of the account whose address that is not."""
    mailbox = Mailbox()
    async with mailing(installation, mailbox) as http:
        await registered(http, "victim")
        lookalike = "victim@ехample.com"
        assert (await http.post(REGISTER, json=body("attacker", email=lookalike))).status_code == 201
        await mailbox.next_to("victim@example.com")
        await mailbox.next_to(lookalike)
        async with installation.sql() as connection:
            await connection.execute("delete from auth.letters")
        await http.post(FORGOT, json={"email": lookalike})
        letter = await mailbox.next_to(lookalike, known=1)
        assert len(links_in(letter)) == 1
        assert "victim:" not in text_of(letter)


# -- names ---------------------------------------------------------------------------------------------

LIKE_ADMIN = (
    "Admin",
    "ADMIN",
    "adm1n",
    "4dmin",
    "ad-min",
    "a.d.m.i.n",
    "adrnin",
    "admln",
    "r00t",
    "Sup3rUser",
)
LIKE_ADMIN_TO_SEE = ("аdmin", "ádmin", "Ａｄｍｉｎ", "adm\u200bin", "αdmin", "Administrat0r", "A D M I N")


async def test_nobody_is_called_like_an_administrator(
    installation: Installation, subtests: pytest.Subtests
) -> None:
    async with served(installation) as http:
        person = await registered(http, "badmington")
        for name in LIKE_ADMIN:
            with subtests.test(name):
                answer = await http.post(REGISTER, json=body(name, email="x@example.com"))
                assert said(answer) == (422, "reserved_name")
        for name in LIKE_ADMIN_TO_SEE:
            with subtests.test(name):
                named = await http.post(REGISTER, json=body("somebody", displayName=name))
                assert said(named) == (422, "reserved_name")
                renamed = await http.patch(ME, json={"displayName": name}, headers=person.headers)
                assert said(renamed) == (422, "reserved_name")
        admin = await administrator(http)
        assert (await http.patch(ME, json={"displayName": "Admin"}, headers=admin)).status_code == 200


# -- invitations ---------------------------------------------------------------------------------------


async def test_where_people_are_invited_registering_takes_an_invitation(installation: Installation) -> None:
    async with served(installation, registration="invite") as http:
        admin = await administrator(http)
        assert said(await http.post(REGISTER, json=body("uninvited"))) == (403, "invitation_needed")
        forged = body("uninvited", invitation="sbx_link_" + "0" * 36)
        assert said(await http.post(REGISTER, json=forged)) == (403, "bad_invitation")
        made = await http.post(INVITATIONS, json={"email": "guest@example.com"}, headers=admin)
        assert made.status_code == 201, made.text
        invitation = made.json()
        assert invitation["link"] == f"http://gateway/join#{invitation['token']}"
        assert (invitation["status"], invitation["mailed"]) == ("open", False)
        for_another = body("another", invitation=invitation["token"])
        assert said(await http.post(REGISTER, json=for_another)) == (403, "bad_invitation")
        wish = body("guest", invitation=invitation["token"])
        assert (await http.post(REGISTER, json=wish)).status_code == 201
        again = wish | {"username": "guest2"}
        assert said(await http.post(REGISTER, json=again)) == (403, "bad_invitation")
        listed = (await http.get(INVITATIONS, headers=admin)).json()["items"]
        guest = await signed_in(http, "guest")
        assert [(each["id"], each["status"], each["usedBy"]) for each in listed] == [
            (invitation["id"], "used", guest.id)
        ]
        assert invitation["token"] not in str(listed)
        revoked = await http.delete(f"{INVITATIONS}/{invitation['id']}", headers=admin)
        assert said(revoked) == (404, "invitation_not_found"), "it is not open any more"


async def test_of_twenty_who_come_with_an_invitation_one_is_let_in(installation: Installation) -> None:
    async with served(installation, registration="invite") as http:
        admin = await administrator(http)
        token = (await http.post(INVITATIONS, json={}, headers=admin)).json()["token"]
        wishes = [body(f"guest-{number}", invitation=token) for number in range(20)]
        answers = await asyncio.gather(*(http.post(REGISTER, json=wish) for wish in wishes))
        assert sorted(answer.status_code for answer in answers) == [201] + [403] * 19
        assert {answer.json()["code"] for answer in answers if answer.status_code == 403} == {
            "bad_invitation"
        }
        assert await installation.count("auth.users", "username like 'guest-%'") == 1
        assert await installation.count("auth.projects", "personal_of is not null") == 2


async def test_an_owner_invites_into_their_project(installation: Installation) -> None:
    async with served(installation, registration="open") as http:
        owner = await registered(http, "owner")
        project = await http.project(owner.headers)
        path = f"/api/v1/projects/{project}/invitations"
        made = await http.post(path, json={"role": "maintainer"}, headers=owner.headers)
        other = await http.post(
            INVITATIONS, json={"projectId": project, "role": "viewer"}, headers=owner.headers
        )
        assert (made.status_code, other.status_code) == (201, 201), made.text + other.text
        assert said(await http.post(INVITATIONS, json={}, headers=owner.headers)) == (403, "admin_required")
        nowhere = await http.post(INVITATIONS, json={"role": "viewer"}, headers=owner.headers)
        assert nowhere.status_code == 422
        wish = body("guest", invitation=made.json()["token"])
        assert (await http.post(REGISTER, json=wish)).status_code == 201
        guest = await signed_in(http, "guest")
        theirs = await http.get(f"/api/v1/projects/{project}", headers=guest.headers)
        assert theirs.json()["role"] == "maintainer"
        assert (await http.get(path, headers=guest.headers)).status_code == 403
        gone = await http.delete(f"{path}/{other.json()['id']}", headers=owner.headers)
        assert gone.status_code == 204
        late = body("late", invitation=other.json()["token"])
        assert said(await http.post(REGISTER, json=late)) == (403, "bad_invitation")
        stranger = await registered(http)
        elsewhere = await http.project(stranger.headers)
        foreign = f"/api/v1/projects/{elsewhere}/invitations/{made.json()['id']}"
        assert said(await http.delete(foreign, headers=stranger.headers)) == (404, "invitation_not_found")


@pytest.mark.parametrize("loss", ["role", "project", "account"])
async def test_who_may_not_invite_any_more_has_invited_nobody(installation: Installation, loss: str) -> None:
    async with served(installation) as http:
        admin, owner, other = (
            await administrator(http),
            await registered(http, "owner"),
            await registered(http, "other"),
        )
        project = await http.project(owner.headers)
        path = f"/api/v1/projects/{project}"
        made = await http.post(f"{path}/invitations", json={"role": "owner"}, headers=owner.headers)
        member = {"userId": other.id, "role": "owner"}
        assert (await http.post(f"{path}/members", json=member, headers=owner.headers)).status_code == 201
        if loss == "role":
            change = await http.patch(
                f"{path}/members/{owner.id}", json={"role": "viewer"}, headers=other.headers
            )
            assert change.status_code == 200, change.text
        elif loss == "project":
            assert (await http.delete(path, headers=other.headers)).status_code == 204
        else:
            assert (await http.delete(f"/api/v1/users/{owner.id}", headers=admin)).status_code == 204
        late = body("late", invitation=made.json()["token"])
        assert said(await http.post(REGISTER, json=late)) == (403, "bad_invitation")


async def test_an_invitation_comes_by_mail_and_shows_who_is_reached(installation: Installation) -> None:
    mailbox = Mailbox()
    async with mailing(installation, mailbox, registration="invite") as http:
        admin = await administrator(http)
        no_address = await http.post(INVITATIONS, json={"mail": True}, headers=admin)
        assert said(no_address) == (422, "address_needed")
        wish = {"email": "guest@example.com", "mail": True, "days": 3}
        made = await http.post(INVITATIONS, json=wish, headers=admin)
        assert made.json()["mailed"] is True
        letter = await mailbox.next_to("guest@example.com")
        assert "admin invites you" in text_of(letter)
        (token,) = links_in(letter)
        assert token != made.json()["token"], "what stands in the work of a service is no secret"
        lookalike = body("guest", email="guest@ехample.com", invitation=token)
        assert said(await http.post(REGISTER, json=lookalike)) == (403, "bad_invitation")
        answer = await http.post(REGISTER, json=body("guest", invitation=token))
        assert answer.status_code == 201, answer.text
        assert (await http.me((await signed_in(http, "guest")).headers))["emailConfirmed"] is True
        both = body("second", email="guest@example.com", invitation=made.json()["token"])
        assert said(await http.post(REGISTER, json=both)) == (403, "bad_invitation")


async def test_in_production_nobody_registers_unless_it_is_said(installation: Installation) -> None:
    """The first administrator is there all the same."""
    async with served(installation, env="production") as http:
        admin = await administrator(http)
        assert said(await http.post(REGISTER, json=body("early"))) == (403, "registration_closed")
        assert said(await http.post(INVITATIONS, json={}, headers=admin)) == (403, "registration_closed")
        made = await http.post("/api/v1/auth/admin/register", json=body("chosen"), headers=admin)
        assert made.status_code == 201
        assert await login(http, PASSWORD, email="chosen@example.com") == 200
