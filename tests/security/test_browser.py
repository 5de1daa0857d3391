"""What a browser keeps speaks for its person, and only for pages that may use it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http.cookies import Morsel, SimpleCookie
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from signalbox_gateway.settings import GatewaySettings
from tests.support.factories import registered, signed_in
from tests.support.installation import PASSWORD, Http, Installation

pytestmark = pytest.mark.fresh  # its people have the same names in each test

LOGIN, REFRESH, LOGOUT = "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/logout"
ME, SESSIONS, PROJECTS = "/api/v1/auth/me", "/api/v1/auth/sessions", "/api/v1/projects"
CODE = "/api/v1/auth/device/code"
OURS, CONFIGURED, FOREIGN = "http://gateway", "http://localhost:3000", "https://evil.example"
CREDENTIALS = {"username": "reader", "password": PASSWORD}
MINUTE, DAY = 60, 24 * 3600


@pytest.fixture
async def http(installation: Installation) -> AsyncIterator[Http]:
    async with installation.running_auth(), installation.gateway() as client:
        await registered(client, "reader")
        yield client


@dataclass(frozen=True)
class Jar:
    """The cookies of one session, which a test sends where it means to."""

    access: str
    refresh: str
    csrf: str

    @property
    def header(self) -> dict[str, str]:
        return {"Cookie": f"sbx_access={self.access}; sbx_refresh={self.refresh}; sbx_csrf={self.csrf}"}


def cookies_of(answer: httpx.Response) -> dict[str, Morsel[str]]:
    found: dict[str, Morsel[str]] = {}
    for line in answer.headers.get_list("set-cookie"):
        found |= SimpleCookie(line)
    return found


async def logged_in(http: Http, **headers: str) -> Jar:
    answer = await http.post(LOGIN, json=CREDENTIALS, headers=headers)
    assert answer.status_code == 200, answer.text
    http.cookies.clear()
    jar = cookies_of(answer)
    return Jar(*(jar[name].value for name in ("sbx_access", "sbx_refresh", "sbx_csrf")))


def refused(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


# -- cookies -------------------------------------------------------------------------------------------


async def test_logging_in_sets_three_cookies(http: Http) -> None:
    answer = await http.post(LOGIN, json=CREDENTIALS)
    assert set(answer.json()) == {"accessToken", "tokenType", "expiresIn"}
    assert answer.headers["cache-control"] == "no-store"
    jar = cookies_of(answer)
    kept = {
        name: (cookie["path"], bool(cookie["httponly"]), cookie["samesite"], cookie["domain"])
        for name, cookie in jar.items()
    }
    assert kept == {
        "sbx_access": ("/api/v1", True, "strict", ""),
        "sbx_refresh": ("/api/v1/auth/refresh", True, "strict", ""),
        "sbx_csrf": ("/", False, "strict", ""),
    }
    assert jar["sbx_access"].value == answer.json()["accessToken"]
    assert int(jar["sbx_access"]["max-age"]) == answer.json()["expiresIn"] == 15 * MINUTE
    assert int(jar["sbx_refresh"]["max-age"]) == pytest.approx(30 * DAY, abs=5)


async def test_a_refresh_sets_new_ones_and_a_logout_takes_them(http: Http) -> None:
    jar = await logged_in(http)
    renewed = await http.post(REFRESH, headers=jar.header)
    assert set(renewed.json()) == {"accessToken", "tokenType", "expiresIn"}
    new = cookies_of(renewed)
    assert set(new) == {"sbx_access", "sbx_refresh", "sbx_csrf"}
    assert new["sbx_refresh"].value != jar.refresh
    assert new["sbx_csrf"].value == jar.csrf, "pages that are open go on"
    http.cookies.clear()
    gone = await http.post(LOGOUT, headers=jar.header | {"Origin": OURS})
    assert gone.status_code == 204
    cleared = {
        name: (cookie.value, cookie["max-age"], cookie["path"]) for name, cookie in cookies_of(gone).items()
    }
    assert cleared == {
        "sbx_access": ("", "0", "/api/v1"),
        "sbx_refresh": ("", "0", "/api/v1/auth/refresh"),
        "sbx_csrf": ("", "0", "/"),
    }


async def test_who_wants_no_cookies_gets_none(http: Http) -> None:
    answer = await http.post(f"{LOGIN}?cookie=false", json=CREDENTIALS)
    assert "set-cookie" not in answer.headers
    token = answer.json()["refreshToken"]
    renewed = await http.post(REFRESH, json={"refreshToken": token})
    assert "set-cookie" not in renewed.headers
    assert renewed.json()["refreshToken"] != token


HTTPS, HTTP = {"X-Forwarded-Proto": "https"}, {"X-Forwarded-Proto": "http"}
US = "127.0.0.1"
SECURE: tuple[tuple[str, dict[str, Any], dict[str, str], bool], ...] = (
    ("development over HTTP", {}, {}, False),
    ("what anybody says is not believed", {}, HTTPS, False),
    ("nor what another proxy says", {"trusted_proxies": "10.0.0.0/8"}, HTTPS, False),
    ("our proxy's word counts", {"trusted_proxies": US}, HTTPS, True),
    ("also among others", {"trusted_proxies": f"10.0.0.0/8, {US}/32"}, HTTPS, True),
    ("our proxy spoke HTTP", {"trusted_proxies": US}, HTTP, False),
    ("our proxy said nothing", {"trusted_proxies": US}, {}, False),
    ("our proxy said nonsense", {"trusted_proxies": US}, {"X-Forwarded-Proto": "gopher"}, False),
    ("told to", {"cookie_secure": True}, {}, True),
    ("told not to", {"cookie_secure": False, "trusted_proxies": US}, HTTPS, False),
    ("staging", {"env": "staging"}, {}, True),
    ("production", {"env": "production"}, {}, True),
    ("production behind our proxy over HTTP", {"env": "production", "trusted_proxies": US}, HTTP, True),
)


async def test_cookies_are_for_https_where_there_is_https(
    installation: Installation, subtests: pytest.Subtests
) -> None:
    async with installation.running_auth():
        async with installation.gateway() as http:
            await registered(http, "reader")
        for name, settings, headers, secure in SECURE:
            with subtests.test(name):
                async with installation.gateway(**settings) as http:
                    answer = await http.post(LOGIN, json=CREDENTIALS, headers=headers)
                    jar = cookies_of(answer)
                    assert {bool(cookie["secure"]) for cookie in jar.values()} == {secure}


# -- who may use them ----------------------------------------------------------------------------------

ALLOWED, FROM_ELSEWHERE, NOT_SHOWN = (201, ""), (403, "origin_not_allowed"), (403, "csrf_check_failed")
RIGHT, NO_TOKEN = {"X-CSRF-Token": "{csrf}"}, {"X-CSRF-Token": ""}
OTHERS, FORGED = {"X-CSRF-Token": "{other}"}, {"X-CSRF-Token": "0" * 64}


def site(name: str) -> dict[str, str]:
    return {"Sec-Fetch-Site": name}


def origin(name: str) -> dict[str, str]:
    return {"Origin": name}


UNSAFE: tuple[tuple[str, dict[str, str], tuple[int, str]], ...] = (
    ("nothing shown", {}, NOT_SHOWN),
    ("our own page", origin(OURS), ALLOWED),
    ("a configured page", origin(CONFIGURED), ALLOWED),
    ("our own page, as browsers say it", origin(OURS) | site("same-origin"), ALLOWED),
    ("a configured page, as browsers say it", origin(CONFIGURED) | site("same-site"), ALLOWED),
    ("our own page without its origin", site("same-origin"), ALLOWED),
    ("the token alone", RIGHT, ALLOWED),
    ("the token, typed in", RIGHT | site("none"), ALLOWED),
    ("typed in without a token", site("none"), NOT_SHOWN),
    ("a page elsewhere", origin(FOREIGN), FROM_ELSEWHERE),
    ("a page elsewhere that knows the token", origin(FOREIGN) | RIGHT, FROM_ELSEWHERE),
    (
        "a page elsewhere that claims to be ours",
        origin(FOREIGN) | site("same-origin") | RIGHT,
        FROM_ELSEWHERE,
    ),
    ("a page without an origin", origin("null") | RIGHT, FROM_ELSEWHERE),
    ("an empty origin", origin("") | RIGHT, FROM_ELSEWHERE),
    ("our name at another port", origin(f"{OURS}:8443") | RIGHT, FROM_ELSEWHERE),
    ("our name in front", origin(f"{OURS}.evil.example") | RIGHT, FROM_ELSEWHERE),
    ("our name behind", origin("http://evil-gateway") | RIGHT, FROM_ELSEWHERE),
    ("our name as a user", origin("http://gateway@evil.example") | RIGHT, FROM_ELSEWHERE),
    ("our name over HTTPS", origin(OURS.replace("http", "https")) | RIGHT, FROM_ELSEWHERE),
    ("a configured name with more", origin(f"{CONFIGURED}0") | RIGHT, FROM_ELSEWHERE),
    ("a configured name over HTTPS", origin(CONFIGURED.replace("http", "https")) | RIGHT, FROM_ELSEWHERE),
    ("an origin that is no address", origin("http://[") | RIGHT, FROM_ELSEWHERE),
    ("an origin that is a port", origin("http://gateway:x") | RIGHT, FROM_ELSEWHERE),
    ("caused elsewhere", site("cross-site"), FROM_ELSEWHERE),
    ("caused elsewhere by who knows the token", site("cross-site") | RIGHT, FROM_ELSEWHERE),
    ("caused by a sister", site("same-site") | RIGHT, FROM_ELSEWHERE),
    ("another session's token", OTHERS, NOT_SHOWN),
    ("a forged token", FORGED, NOT_SHOWN),
    ("an empty token", NO_TOKEN, NOT_SHOWN),
)


async def test_a_cookie_changes_something_only_for_pages_that_may(
    http: Http, subtests: pytest.Subtests
) -> None:
    jar, other = await logged_in(http), await logged_in(http)
    for name, shown, expected in UNSAFE:
        with subtests.test(name):
            headers = {key: value.format(csrf=jar.csrf, other=other.csrf) for key, value in shown.items()}
            answer = await http.post(PROJECTS, json={"name": name}, headers=jar.header | headers)
            assert (refused(answer) if answer.status_code != 201 else (201, "")) == expected
    unsigned = {"Cookie": f"sbx_access={jar.access}; sbx_csrf=planted", "X-CSRF-Token": "planted"}
    planted = await http.post(PROJECTS, json={"name": "x"}, headers=unsigned)
    assert refused(planted) == NOT_SHOWN, "a token counts for what it is, not because it was sent twice"


async def test_every_unsafe_method_is_asked_for_it(http: Http, subtests: pytest.Subtests) -> None:
    jar = await logged_in(http)
    change = {"displayName": "Changed"}
    for method, path, body in (("PATCH", ME, change), ("DELETE", SESSIONS, None), ("POST", LOGOUT, None)):
        with subtests.test(method):
            for shown, expected in (({}, NOT_SHOWN), (origin(FOREIGN), FROM_ELSEWHERE)):
                answer = await http.request(method, path, json=body, headers=jar.header | shown)
                assert refused(answer) == expected
            allowed = await http.request(method, path, json=body, headers=jar.header | origin(OURS))
            assert allowed.status_code in (200, 204)


async def test_reading_needs_nothing_and_a_bearer_token_needs_nothing(http: Http) -> None:
    jar = await logged_in(http)
    for shown in ({}, origin(OURS), origin(FOREIGN), site("cross-site")):
        assert (await http.get(ME, headers=jar.header | shown)).status_code == 200
        bearer = {"Authorization": f"Bearer {jar.access}"}
        made = await http.post(PROJECTS, json={"name": "x"}, headers=bearer | shown)
        assert made.status_code == 201, "no page makes a browser send this header"
    both = {"Authorization": "Bearer a.b.c"} | jar.header | origin(OURS)
    assert refused(await http.get(ME, headers=both))[0] == 401, "what was said counts, not what was kept"
    assert refused(await http.get(ME, headers={"Cookie": f"sbx_refresh={jar.refresh}"}))[0] == 401


async def test_a_session_begins_and_goes_on_from_pages_that_may(http: Http) -> None:
    for address in (OURS, CONFIGURED):
        jar = await logged_in(http, Origin=address)
        renewed = await http.post(REFRESH, headers=jar.header | origin(address))
        assert renewed.status_code == 200
        http.cookies.clear()


async def test_no_page_elsewhere_begins_or_goes_on_with_a_session(
    http: Http, subtests: pytest.Subtests
) -> None:
    """Or somebody would find themselves at work in the account of another."""
    jar = await logged_in(http)
    for shown in (
        origin(FOREIGN),
        origin("null"),
        origin("http://["),
        site("cross-site"),
        site("same-site"),
        origin(FOREIGN) | site("same-origin"),
    ):
        with subtests.test(str(shown)):
            by_json = await http.post(LOGIN, json=CREDENTIALS, headers=shown)
            by_form = await http.post(LOGIN, data=CREDENTIALS, headers=shown)
            without = await http.post(f"{LOGIN}?cookie=false", json=CREDENTIALS, headers=shown)
            renewed = await http.post(REFRESH, headers=jar.header | shown)
            for answer in (by_json, by_form, without, renewed):
                assert refused(answer) == FROM_ELSEWHERE
                assert "set-cookie" not in answer.headers
    assert (await http.post(REFRESH, headers=jar.header)).status_code == 200


# -- what other pages may read -------------------------------------------------------------------------


async def test_only_configured_pages_may_read_answers(http: Http) -> None:
    jar = await logged_in(http)
    ask = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "content-type"}
    for address in (CONFIGURED, FOREIGN, "null", "*", CONFIGURED + ".evil.example"):
        may = address == CONFIGURED
        for answer in (
            await http.get(ME, headers=jar.header | origin(address)),
            await http.get(ME, headers=origin(address)),
            await http.request("OPTIONS", ME, headers=ask | origin(address)),
        ):
            said = answer.headers.get("access-control-allow-origin")
            assert said == (address if may else None)
            if may:
                assert answer.headers["access-control-allow-credentials"] == "true"
            assert "origin" in answer.headers["vary"].lower()
    here = await http.get(ME, headers=jar.header)
    assert "access-control-allow-origin" not in here.headers


@pytest.mark.parametrize("origins", ["*", "http://localhost:3000, *"])
async def test_everybody_is_no_origin_that_can_be_configured(origins: str) -> None:
    """With credentials, it would let any page read everything."""
    with pytest.raises(ValidationError):
        GatewaySettings(cors_origins=origins)


async def test_answers_that_hold_secrets_are_not_kept(http: Http) -> None:
    jar = await logged_in(http)
    me = {"Authorization": f"Bearer {jar.access}"}
    for answer in (
        await http.post(LOGIN, json=CREDENTIALS),
        await http.post(REFRESH, headers=jar.header),
        await http.post("/api/v1/auth/ws-ticket", headers=me),
        await http.post("/api/v1/auth/tokens", json={"name": "t"}, headers=me),
        await http.post(CODE),
    ):
        assert answer.status_code in (200, 201)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


# -- where somebody is ---------------------------------------------------------------------------------

Forwarded = list[tuple[str, str]]


def via(*lines: str) -> Forwarded:
    return [("X-Forwarded-For", line) for line in lines]


TWO = f"{US}, 10.0.0.0/8"
ADDRESSES: dict[str, tuple[tuple[str, Forwarded, str], ...]] = {
    "": (
        ("nobody in front", [], US),
        ("what anybody says is not believed", via("203.0.113.9"), US),
    ),
    "10.0.0.0/8": (("nor what another proxy says", via("203.0.113.9"), US),),
    US: (
        ("our proxy's word counts", via("203.0.113.9"), "203.0.113.9"),
        ("what was said to our proxy does not", via("198.51.100.1, 203.0.113.9"), "203.0.113.9"),
        ("nor in a line before its own", via("198.51.100.1", "203.0.113.9"), "203.0.113.9"),
        ("nonsense is where it ends", via("203.0.113.9, unknown"), US),
        ("nonsense before it", via("<script>, 203.0.113.9"), "203.0.113.9"),
        ("nothing", via(""), US),
        ("version 6", via("2001:db8::9"), "2001:db8::9"),
        ("version 4 in version 6", via("::ffff:203.0.113.9"), "203.0.113.9"),
        ("other headers say nothing", [("Forwarded", "for=203.0.113.9"), ("X-Real-IP", "203.0.113.9")], US),
    ),
    TWO: (
        ("two proxies of ours", via("203.0.113.9, 10.1.2.3"), "203.0.113.9"),
        ("in front of two", via("198.51.100.1, 203.0.113.9, 10.1.2.3"), "203.0.113.9"),
        ("each with a line of its own", via("198.51.100.1", "203.0.113.9", "10.1.2.3"), "203.0.113.9"),
        ("nobody but proxies of ours", via("10.1.2.3"), "10.1.2.3"),
    ),
}
"""By whom we trust: what the proxies say, and where somebody is then."""


async def test_where_somebody_signed_in_is_believed_of_our_proxies_alone(
    installation: Installation, subtests: pytest.Subtests
) -> None:
    async with installation.running_auth():
        async with installation.gateway() as http:
            await registered(http, "reader")
        for proxies, rows in ADDRESSES.items():
            async with installation.gateway(trusted_proxies=proxies) as http:
                for name, forwarded, expected in rows:
                    with subtests.test(name, proxies=proxies):
                        answer = await http.post(f"{LOGIN}?cookie=false", json=CREDENTIALS, headers=forwarded)
                        me = {"Authorization": f"Bearer {answer.json()['accessToken']}"}
                        listed = (await http.get(SESSIONS, headers=me)).json()["items"]
                        assert [item["address"] for item in listed if item["current"]] == [expected]


async def test_the_server_in_front_of_the_application_believes_no_more_than_that(
    installation: Installation,
) -> None:
    """It sees every header first, and may have settings of its own about whom to believe."""
    async with installation.running_auth(), installation.served_gateway() as (http, address):
        await registered(http, "reader")
        said = dict(via("203.0.113.9")) | HTTPS
        answer = await http.post(LOGIN, json=CREDENTIALS, headers=said)
        assert {bool(cookie["secure"]) for cookie in cookies_of(answer).values()} == {False}
        started = await http.post(CODE, headers=said)
        assert started.json()["verification_uri"] == f"http://{address}/device"
        me = {"Authorization": f"Bearer {answer.json()['accessToken']}"}
        listed = (await http.get(SESSIONS, headers=me)).json()["items"]
        assert [item["address"] for item in listed if item["current"]] == [US]


async def test_the_address_of_others_is_nobodys_to_see(http: Http) -> None:
    reader, other = await signed_in(http, "reader"), await registered(http)
    listed = (await http.get(SESSIONS, headers=other.headers)).json()["items"]
    assert [item["id"] for item in listed] == [other.session_id]
    assert reader.session_id not in str(listed)
