"""Passwords that are tried first are refused, odd ones are not; and a name is taken however it is spelled."""

from collections.abc import AsyncIterator

import pytest

from tests.support.factories import LOGIN, registered, signed_in
from tests.support.installation import ADMIN_PASSWORD, PASSWORD, Http, Installation

REGISTER, ME, CHANGE = "/api/v1/auth/register", "/api/v1/auth/me", "/api/v1/auth/password"


@pytest.fixture
async def http(installation: Installation) -> AsyncIterator[Http]:
    async with installation.running_auth(), installation.gateway() as client:
        yield client


# -- passwords -----------------------------------------------------------------------------------------

WEAK = {
    "eleven characters": "k7#Qm!z2Xp9",
    "eleven characters that look like more": "\U0001f511" * 11,
    "common": "password1234",
    "common in capitals": "PASSWORD1234",
    "a row of the keyboard": "qwertyuiop12",
    "digits": "123456789012",
    "one's name": "long-username",
    "one's name in capitals": "LONG-Username",
    "one's address": "first.last-name@example.com",
    "one's address in capitals": "First.Last-Name@Example.COM",
    "the beginning of one's address": "first.last-name",
    "longer than anybody remembers": "x9" * 600,
}
STRONG = {
    "words": "correct horse battery staple",
    "twelve characters": "k7#Qm!z2Xp9v",
    "spaces at its ends": "   padded with spaces   ",
    "only spaces": " " * 13,
    "umlauts": "größtes Übel von allen",
    "another script": "правильная лошадь",
    "pictures": "\U0001f40e\U0001f50b\U0001f4ce\U0001f9ea" * 3,
    "right to left": "סוס נכון סוללה סיכה",
    "combining marks": "e\u0301" * 12,
    "control characters": "tab\there\x07bell\x1b[0m",
    "NUL": "before\x00and after",
    "JSON": '{"$ne": null, "a": 1}',
    "1024 characters": "Ж" * 1023 + "!",
}


async def test_weak_passwords_are_refused_and_odd_ones_are_not(http: Http, subtests: pytest.Subtests) -> None:
    user = {"username": "long-username", "email": "first.last-name@example.com"}
    for name, password in WEAK.items():
        with subtests.test(name):
            answer = await http.post(REGISTER, json=user | {"password": password})
            assert answer.status_code == 422, answer.text
            assert answer.json()["code"] in ("weak_password", "validation_failed")
            assert answer.json()["errors"][0]["field"] == "password"
            assert password not in answer.text
    for number, (name, password) in enumerate(STRONG.items()):
        with subtests.test(name):
            body = {"username": f"strong{number}", "email": f"s{number}@example.com", "password": password}
            answer = await http.post(REGISTER, json=body)
            assert answer.status_code == 201, answer.text
            assert (await signed_in(http, f"strong{number}", password)).id == answer.json()["id"]
            login = {"username": f"strong{number}", "password": password + "."}
            assert (await http.post(LOGIN, json=login)).status_code in (401, 422)


async def test_a_new_password_must_be_as_good_as_a_first_one(http: Http, subtests: pytest.Subtests) -> None:
    person = await registered(http, "long-username")
    for password in ("password1234", "long-username", "long-username@example.com", "short", "Long-Username"):
        with subtests.test(password):
            body = {"currentPassword": PASSWORD, "newPassword": password}
            answer = await http.post(CHANGE, json=body, headers=person.headers)
            assert answer.status_code == 422, answer.text


async def test_guessing_the_password_of_an_open_session_is_slowed_down(http: Http) -> None:
    """Whoever has got hold of a session must not find out the password with it."""
    person = await registered(http)
    answers = [
        await http.post(
            CHANGE,
            json={"currentPassword": f"guess {number}", "newPassword": "another good one"},
            headers=person.headers,
        )
        for number in range(30)
    ]
    assert answers[0].status_code == 403
    assert answers[-1].status_code == 429


# -- names ---------------------------------------------------------------------------------------------

SAME_NAME = ("DEVELOPER", "Developer", "dEvElOpEr")
NO_NAME = (
    "ｄｅｖｅｌｏｐｅｒ",
    "dеveloper",
    "developer\u200b",
    "developer ",
    " developer",
    "dev\u00adeloper",
    "développer",
)
SAME_ADDRESS = {
    "in capitals": "DEVELOPER@EXAMPLE.COM",
    "full-width letters": "ｄｅｖｅｌｏｐｅｒ@example.com",
    "a Cyrillic e": "dеveloper@example.com",
    "a Cyrillic domain": "developer@ехample.com",
    "a Greek o": "develοper@example.com",
    "a Kelvin sign's kind": "developer@example.ⅽom",
    "a space without width": "devel\u200boper@example.com",
    "a soft hyphen": "devel\u00adoper@example.com",
    "a mark of direction": "developer\u200e@example.com",
    "a word joiner": "developer@\u2060example.com",
}


async def test_a_name_is_taken_however_it_is_spelled(http: Http, subtests: pytest.Subtests) -> None:
    developer = await registered(http, "developer")

    def body(**changes: str) -> dict[str, str]:
        return {"username": "another", "email": "another@example.com", "password": PASSWORD} | changes

    for username in SAME_NAME:
        with subtests.test(username):
            answer = await http.post(REGISTER, json=body(username=username))
            assert (answer.status_code, answer.json()["code"]) == (409, "username_taken")
    for username in NO_NAME:
        with subtests.test(username):
            assert (await http.post(REGISTER, json=body(username=username))).status_code == 422
    own = {"email": "DEVELOPER@example.com", "currentPassword": PASSWORD}
    spelled = await http.patch(ME, json=own, headers=developer.headers)
    assert spelled.status_code == 200, "one may spell one's own address differently"


async def test_nobody_is_known_to_be_reached_at_what_looks_like_anothers_address(
    http: Http, subtests: pytest.Subtests
) -> None:
    """Others may say so, and are told nothing; an administrator, who knows, is told."""
    admin = await signed_in(http, "admin", ADMIN_PASSWORD)
    known = {"username": "known", "email": "developer@example.com", "password": PASSWORD}
    made = await http.post("/api/v1/auth/admin/register", json=known, headers=admin.headers)
    assert made.status_code == 201, made.text
    other = await registered(http)
    for number, (name, email) in enumerate(SAME_ADDRESS.items()):
        with subtests.test(name):
            said = {"username": f"says-so-{number}", "email": email, "password": PASSWORD}
            answer = await http.post(REGISTER, json=said)
            assert answer.status_code in (201, 422), answer.text
            change = {"email": email, "currentPassword": PASSWORD}
            changed = await http.patch(ME, json=change, headers=other.headers)
            assert changed.status_code in (200, 422), changed.text
            told = await http.post(
                "/api/v1/auth/admin/register", json=said | {"username": "x-x"}, headers=admin.headers
            )
            assert told.status_code in (409, 422), told.text
    assert (await http.me(other.headers))["emailConfirmed"] is False
    assert (await http.post(LOGIN, json=known)).status_code == 200
    by_address = {"email": "developer@example.com", "password": PASSWORD + "!"}
    assert (await http.post(LOGIN, json=by_address)).status_code == 401
