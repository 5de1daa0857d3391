"""What somebody with one account might try on the catalog: to break it, to fill it, to confuse it."""

import asyncio
import base64
import gc
import io
import json
import os
import resource
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import psutil
import pytest

from signalbox_catalog.domain.resources import StoredSecret
from signalbox_catalog.service.limiter import AT_ONCE
from signalbox_catalog.service.vault import Vault
from signalbox_catalog.settings import CatalogSettings
from signalbox_common.bus.objects import Bucket
from signalbox_common.contracts.streams import PACKAGE_BUCKET
from signalbox_common.db import Database
from signalbox_common.keys import uuid7
from signalbox_common.secrets import KeyFile, LocalSecrets
from signalbox_common.testing import eventually
from tests.security.matrix import SKILL_PACKAGE, ZIP
from tests.security.scene import ALPHA, BETA, IDS, Scene, bot, ghost, seen, two_projects
from tests.support.catalog import KINDS
from tests.support.installation import PASSWORD, Installation
from tests.support.pace import promptly
from tests.support.people import bearer

pytestmark = pytest.mark.fresh  # its people and projects have the same names in each test

KEY = "sk-live-0123456789abcdef"
JSON = {"Content-Type": "application/json"}
AS_ZIP = {"Content-Type": ZIP}
FOREIGN = "agent.wecode.io/v1"
MOST_ERRORS = 100
"""Of one answer: more than that nobody reads."""


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with two_projects(installation) as scene:
        yield scene


async def revealed(scene: Scene, name: str) -> dict[str, Any]:
    """The keys that belong to a resource, by their places: what would be handed to whoever runs it."""
    settings = scene.installation.settings(CatalogSettings)
    secret_key = settings.secret_key.get_secret_value()
    database = Database(settings)
    try:
        async with scene.installation.sql() as connection:
            stored = await connection.fetchval("select secrets from catalog.resources where name = $1", name)
        vault = Vault(
            LocalSecrets(database, KeyFile(settings.secrets_dir / "catalog.keys", secret_key)), secret_key
        )
        return await vault.reveal({at: StoredSecret(**entry) for at, entry in json.loads(stored).items()})
    finally:
        await database.close()


# -- `***` -------------------------------------------------------------------------------------------------


def _model(name: str, env: Any) -> dict[str, Any]:
    return ghost(name) | {"kind": "Model", "spec": {"modelConfig": {"env": env}}}


async def test_asterisks_stand_for_nothing_but_ones_own_key(scene: Scene, subtests: pytest.Subtests) -> None:
    """Whoever copies what they have read gets no key with it."""
    made = await scene.good("alice", "POST", "models", _model("kept", {"model": "openai", "api_key": KEY}))
    shown = made["spec"]["modelConfig"]["env"]
    assert shown["api_key"] == "***"
    home: dict[str, Any] = {"namespace": "default"}
    tries: dict[str, Any] = {
        "a copy": lambda: scene.ask("developer", "POST", "models", _model("copy", shown)),
        "a copy elsewhere": lambda: scene.ask("developer", "POST", "models", _model("kept", shown), **home),
        "a copy by apply": lambda: scene.apply("developer", [_model("copy", shown)]),
        "in a dry run": lambda: scene.apply("developer", [_model("copy", shown)], dryRun="true"),
        "at another place": lambda: scene.ask(
            "developer", "PATCH", "models/kept", {"spec": {"modelConfig": {"env": {"other_key": "***"}}}}
        ),
        "as a text": lambda: scene.ask("developer", "PATCH", "models/kept", {"spec": {"description": "***"}}),
        "as a prompt": lambda: scene.ask("developer", "POST", "ghosts", ghost("copy", systemPrompt="***")),
        "as a label": lambda: scene.ask(
            "developer", "PATCH", "models/kept", {"metadata": {"labels": {"a": "***"}}}
        ),
    }
    for what, attempt in tries.items():
        with subtests.test(what):
            answer = await attempt()
            assert answer.status_code == 422, answer.text
    await scene.good("alice", "DELETE", "models/kept")
    with subtests.test("after it was deleted"):
        answer = await scene.ask("alice", "POST", "models", _model("kept", shown))
        assert answer.status_code == 422, answer.text
    await scene.good("alice", "POST", "models/kept/restore")
    assert await revealed(scene, "kept") == {"/modelConfig/env/api_key": KEY}


async def test_a_key_stays_with_its_name_when_a_list_changes(scene: Scene, subtests: pytest.Subtests) -> None:
    """One that moved is refused, or goes along; it never becomes that of another service."""

    def with_env(*names: str, value: Callable[[str], str]) -> dict[str, Any]:
        env = [{"name": name, "value": value(name)} for name in names]
        return ghost("listed", mcpServers={"m": {"command": "x", "config": {"env": env}}})

    def with_args(*names: str, value: Callable[[str], str]) -> dict[str, Any]:
        args = [part for name in names for part in (f"--{name.lower()}", value(name))]
        return ghost("listed", mcpServers={"m": {"command": "x", "args": args}})

    for what, document in {"environment": with_env, "arguments": with_args}.items():
        for changed in (("B_TOKEN",), ("B_TOKEN", "A_TOKEN"), ("C_TOKEN", "A_TOKEN", "B_TOKEN")):
            made = document("A_TOKEN", "B_TOKEN", value=lambda name: f"key of {name}")
            made["metadata"]["name"] = f"{what}-{len(changed)}"
            await scene.good("alice", "POST", "ghosts", made)
            wanted = document(*changed, value=lambda _: "***")
            wanted["metadata"] = made["metadata"]
            with subtests.test(what, changed=changed):
                answer = await scene.ask("alice", "PUT", f"ghosts/{made['metadata']['name']}", wanted)
                if answer.status_code == 422:
                    continue
                keys = list((await revealed(scene, made["metadata"]["name"])).values())
                assert keys == [f"key of {name}" for name in changed], "keys of others"


async def test_keys_in_addresses_and_command_lines_are_not_shown(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    """What is unmistakably a key is one wherever a tool server is described."""
    servers: dict[str, dict[str, Any]] = {
        "an address with a password": {"url": f"https://me:{KEY}@tools.example.com/sse"},
        "an address with a key": {"url": f"https://tools.example.com/sse?api_key={KEY}"},
        "a command line": {"command": f"npx server --api-key {KEY}"},
        "what looks like a placeholder": {"env": {"API_KEY": f"<{KEY}>"}},
    }
    for number, (what, server) in enumerate(servers.items()):
        with subtests.test(what):
            made = ghost(f"tools-{number}", mcpServers={"m": server})
            answer = await scene.ask("alice", "POST", "ghosts", made)
            assert KEY not in answer.text
            watched = await scene.ask("reader", "GET", f"ghosts/tools-{number}")
            assert KEY not in watched.text


# -- what fits nowhere -------------------------------------------------------------------------------------


async def test_a_patch_for_an_older_version_is_a_conflict(scene: Scene) -> None:
    """At once, and without keeping a key of what was refused."""
    await scene.good("alice", "POST", "models", _model("m", {"api_key": KEY}))
    await scene.good("alice", "PATCH", "models/m", {"metadata": {"labels": {"a": "b"}}})
    stale = {
        "metadata": {"resourceVersion": "1"},
        "spec": {"modelConfig": {"env": {"api_key": KEY + "2"}}},
    }
    answer = await scene.ask("alice", "PATCH", "models/m", stale)
    assert (answer.status_code, answer.json()["code"]) == (409, "version_conflict")
    assert await scene.installation.count("catalog.secrets") <= 2


async def test_merge_patches_change_nothing_that_is_not_theirs(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    await scene.good("alice", "POST", "ghosts", ghost("g", description="d"))
    patches: dict[str, int] = {
        '{"metadata": {"name": "other"}}': 422,
        '{"metadata": {"name": 7}}': 422,
        '{"metadata": {"name": null}}': 200,
        '{"metadata": null}': 200,
        '{"metadata": {"namespace": "gamma"}}': 404,
        '{"metadata": {"namespace": "beta"}}': 404,
        '{"metadata": {"namespace": null}}': 200,
        '{"metadata": {"labels": []}}': 422,
        '{"kind": "Bot"}': 422,
        '{"kind": null, "apiVersion": null}': 200,
        '{"apiVersion": "v1"}': 422,
        '{"spec": null}': 422,
        '{"spec": []}': 422,
        '{"spec": {"systemPrompt": null}}': 422,
        '{"status": {"state": "Broken"}}': 200,
        '{"spec": {"\\u0000": 1}}': 422,
        '{"spec": {"x": "\\ud800"}}': 422,
        '{"spec": {"x": 1e999}}': 422,
        '{"spec": {"x": NaN}}': 422,
        "[]": 422,
        "null": 422,
        '{"a":' * 100 + "1" + "}" * 100: 422,
    }
    for patch, status in patches.items():
        with subtests.test(patch[:40]):
            answer = await scene.http.patch(
                f"{KINDS}/ghosts/g",
                content=patch,
                params={"namespace": ALPHA},
                headers=scene.headers("developer") | {"Content-Type": "application/merge-patch+json"},
            )
            assert answer.status_code == status, answer.text
    now = await scene.good("alice", "GET", "ghosts/g")
    assert now["metadata"]["generation"] == 1
    assert now["spec"] == {"systemPrompt": "You write code.", "description": "d"}
    assert (now["kind"], now["status"]) == ("Ghost", {"state": "Available"})


NUMBERS = ("1", "9007199254740993", "9223372036854775807", "-1e18", "1e15", "0.1", "5e-324", "1.0")
TOO_LARGE = ("18446744073709551616", "-1e22", "1e300")


async def test_numbers_come_back_as_they_went_in(scene: Scene, subtests: pytest.Subtests) -> None:
    """Or are refused: else every repeat of the same document would be a change."""
    for count, number in enumerate(NUMBERS):
        with subtests.test(number):
            where = f"{KINDS}/ghosts/n{count}"
            body = json.dumps(ghost(f"n{count}", x="NUMBER")).replace('"NUMBER"', number)
            headers, query = scene.headers("alice") | JSON, {"namespace": ALPHA}
            made = await scene.http.post(f"{KINDS}/ghosts", content=body, params=query, headers=headers)
            assert made.status_code in (201, 422), made.text
            if made.status_code == 201:
                again = await scene.http.put(where, content=body, params=query, headers=headers)
                assert again.json()["metadata"]["generation"] == 1
                kept = (await scene.good("alice", "GET", f"ghosts/n{count}"))["spec"]["x"]
                assert kept == json.loads(number)
    for number in TOO_LARGE:
        with subtests.test(number):
            body = json.dumps(ghost("large", x="NUMBER")).replace('"NUMBER"', number)
            headers, query = scene.headers("alice") | JSON, {"namespace": ALPHA}
            refused = await scene.http.post(f"{KINDS}/ghosts", content=body, params=query, headers=headers)
            assert refused.status_code == 422, "what would come back as another number is not taken"
            assert [(e["field"], e["code"]) for e in refused.json()["errors"]] == [("spec.x", "bad_number")]


def _cursor(*words: str) -> str:
    return base64.urlsafe_b64encode("\0".join(words).encode()).rstrip(b"=").decode()


async def test_forged_cursors_break_nothing_and_show_nothing(scene: Scene, subtests: pytest.Subtests) -> None:
    await scene.good("alice", "POST", "ghosts", ghost("own"))
    await scene.good("alice", "DELETE", "ghosts/own")
    someone = str(uuid7())
    times = ("2024-01-01", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2024-01-01T00:00:00")
    forged = (
        *(_cursor(time, someone) for time in times),
        *(_cursor("2024-01-01T00:00:00+00:00", word) for word in ("", "x", "spirit", "0" * 32)),
        *(_cursor(name) for name in ("", "spirit", "%", "'; --", "\ufffe")),
        *("", "%", "====", "AAAA", "é", "\x00", "A" * 200, "A" * 201),
        base64.urlsafe_b64encode(b"\x80" + bytes(7)).decode(),
        base64.urlsafe_b64encode(b"\x7f" + b"\xff" * 7).decode(),
    )
    lists: tuple[tuple[str, dict[str, Any]], ...] = (
        ("ghosts", {}),
        ("ghosts", {"deleted": "true"}),
        ("shells/shell/history", {}),
    )
    for cursor in forged:
        for path, query in lists:
            with subtests.test(path, cursor=cursor[:24], **query):
                answer = await scene.ask("reader", "GET", path, cursor=cursor, **query)
                assert answer.status_code in (200, 422), answer.text
                assert "spirit" not in answer.text


async def test_patterns_are_plain_words(scene: Scene, subtests: pytest.Subtests) -> None:
    await scene.good("alice", "POST", "ghosts", ghost("own"))
    for word in ("%", "_", "o_n", "%w%", "\\", "/", "*", "'", "own' or 'a'='a", "(", "[o]", ".*"):
        with subtests.test("part of a name", word=word):
            assert (await scene.good("reader", "GET", "ghosts", q=word))["items"] == []
    for selector in (
        "a=%",
        "a in (%)",
        "%=a",
        "a='b'",
        "a==b==c",
        "a in (",
        "(",
        ",",
        "!",
        "a;drop",
        "=",
        "\x00",
    ):
        watching: dict[str, Any] = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": "0"}
        for query in ({}, watching):
            with subtests.test("selector", selector=selector, **query):
                answer = await scene.ask("reader", "GET", "ghosts", labelSelector=selector, **query)
                assert answer.status_code == 422, answer.text


PATHS = (
    "ghosts/%2e%2e/beta",
    "ghosts/..%2fghosts%2fspirit",
    "ghosts/%00",
    "ghosts/%ff",
    "ghosts/own%0d%0aX-Evil:%201",
    "ghosts/own%0d%0aX-Evil:%201/resolved",
    "ghosts//own",
    "ghosts/own/",
    "GHOSTS/own",
    "ghosts%0d%0aX-Evil:1",
    "ghosts/own/history/0",
    "ghosts/own/history/-1",
    "ghosts/own/history/1e3",
    "ghosts/own/history/99999999999999999999",
    "skills/own%2fpackage/package",
    "skills/%0d%0a/package",
    "ghosts/" + "a" * 101,
    "a" * 41,
)


async def test_odd_addresses_lead_nowhere(scene: Scene, subtests: pytest.Subtests) -> None:
    await scene.good("alice", "POST", "ghosts", ghost("own"))
    for path in PATHS:
        for method in ("GET", "DELETE", "PUT"):
            with subtests.test(method, path=path[:40]):
                answer = await scene.ask("alice", method, path, {} if method == "PUT" else None)
                assert answer.status_code in (404, 405, 415, 422), answer.text
                assert "x-evil" not in answer.headers
                assert "Whisper" not in answer.text
    await scene.good("alice", "GET", "ghosts/own")


NAMES = {
    "代码助手": True,
    "my ghost": True,
    "a..b": True,
    "Ünï": True,
    "x" * 100: True,
    "__proto__": True,
    ".": False,
    "..": False,
    "a/b": False,
    "a\r\nX-Evil: 1": False,
    "a\x00": False,
    "schema": False,
    "-a": False,
    "a ": False,
    "x" * 101: False,
    "": False,
    "\u202egnp": False,
    "a\u2028b": False,
}


async def test_names_from_elsewhere_fit_into_headers(scene: Scene, subtests: pytest.Subtests) -> None:
    for name, good in NAMES.items():
        with subtests.test(repr(name)[:20]):
            foreign = ghost(name) | {"apiVersion": FOREIGN}
            answer = await scene.ask("alice", "POST", "ghosts", foreign)
            assert answer.status_code == (201 if good else 422), answer.text
            if good:
                location = answer.headers["Location"]
                assert location.isascii()
                assert " " not in location
                there = await scene.http.get(location, headers=scene.headers("alice"))
                assert there.json()["metadata"]["name"] == name
            own = await scene.ask("alice", "POST", "ghosts", ghost(name), namespace="default")
            assert own.status_code == 422, "our own are plainer"
        if good:
            with subtests.test("package", name=repr(name)[:20]):
                path = f"{KINDS}/skills/{name}/package"
                query = {"namespace": ALPHA}
                skill = ghost(name) | {"apiVersion": FOREIGN, "kind": "Skill", "spec": {"description": "d"}}
                await scene.good("alice", "POST", "skills", skill)
                headers = scene.headers("alice") | AS_ZIP
                put = await scene.http.put(path, content=SKILL_PACKAGE, params=query, headers=headers)
                assert put.status_code == 200, put.text
                found = await scene.http.get(path, params=query, headers=scene.headers("reader"))
                assert found.content == SKILL_PACKAGE
                disposition = found.headers["Content-Disposition"]
                assert disposition.startswith('attachment; filename="')
                assert disposition.count('"') == 2


# -- streams -----------------------------------------------------------------------------------------------


async def test_nothing_that_is_stored_ends_a_line_of_a_stream(scene: Scene) -> None:
    evil = "a\n\nevent: DELETED\ndata: {}\r\n\rid: 99\u2028x\u0085y"
    odd = ghost("odd", systemPrompt=evil, **{evil: evil})
    odd["metadata"] |= {"displayName": evil, "annotations": {evil: evil}}
    await scene.good("alice", "POST", "ghosts", odd)
    from_the_start: dict[str, Any] = {"resourceVersion": "0"}
    for query in ({}, from_the_start):
        answer = await scene.ask("reader", "GET", "ghosts", watch="true", timeoutSeconds="1", **query)
        lines = [line for line in answer.text.replace("\r", "\n").split("\n") if line]
        assert {line.partition(": ")[0] for line in lines} <= {"retry", "event", "id", "data"}
        found = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
        assert [item["type"] for item in found if "spec" in item["object"]] == ["ADDED"]


async def test_watching_what_is_not_there_is_refused(scene: Scene, subtests: pytest.Subtests) -> None:
    """With an answer, and not with a stream that says nothing."""
    tries: tuple[tuple[str, str, dict[str, Any], str], ...] = (
        ("a kind", "nonsense", {}, "kind_not_found"),
        ("a kind, from a version", "nonsense", {"resourceVersion": "0"}, "kind_not_found"),
        ("a selector", "ghosts", {"labelSelector": "=="}, "validation_failed"),
        ("a version", "ghosts", {"resourceVersion": "99"}, "expired"),
        ("a version of letters", "ghosts", {"resourceVersion": "1e3"}, "bad_version"),
        ("other digits", "ghosts", {"resourceVersion": "٣"}, "expired"),
    )
    narrow = await scene.http.post(
        "/api/v1/auth/tokens", json={"name": "n", "scopes": ["auth:read"]}, headers=scene.headers("alice")
    )
    with subtests.test("without the scope"):
        answer = await scene.http.get(
            f"{KINDS}/ghosts",
            params={"namespace": ALPHA, "watch": "true", "timeoutSeconds": "1"},
            headers=bearer(narrow.json()["token"]),
        )
        assert answer.status_code == 403, answer.text
    for what, plural, query, code in tries:
        with subtests.test(what):
            answer = await scene.ask("reader", "GET", plural, watch="true", timeoutSeconds="1", **query)
            assert answer.status_code >= 400, answer.text
            assert answer.json()["code"] == code


# -- doing it again ----------------------------------------------------------------------------------------


async def test_a_key_of_one_request_is_nobody_elses(scene: Scene, subtests: pytest.Subtests) -> None:
    once = {"Idempotency-Key": "the-same", **IDS}
    first = await scene.ask("alice", "POST", "ghosts", ghost("g"), headers=once)
    assert first.status_code == 201
    with subtests.test("another person"):
        other = await scene.ask("developer", "POST", "ghosts", ghost("g"), headers=once)
        assert other.json()["code"] == "already_exists"
    with subtests.test("another project"):
        other = await scene.ask("alice", "POST", "ghosts", ghost("g"), headers=once, namespace="default")
        assert other.json()["code"] == "idempotency_key_reused"
        other = await scene.ask("alice", "POST", "ghosts", ghost("g", "default"), headers=once)
        assert other.json()["code"] == "idempotency_key_reused"
    with subtests.test("another document"):
        other = await scene.ask("alice", "POST", "ghosts", ghost("h"), headers=once)
        assert other.json()["code"] == "idempotency_key_reused"
    with subtests.test("the same"):
        same = await scene.ask("alice", "POST", "ghosts", ghost("g"), headers=once)
        assert (same.status_code, same.json()["code"]) == (409, "already_done")
    with subtests.test("fifty at once"):
        many = await asyncio.gather(
            *(
                scene.ask("alice", "POST", "ghosts", ghost("many"), headers={"Idempotency-Key": "many"})
                for _ in range(50)
            )
        )
        codes = [answer.status_code for answer in many]
        assert (codes.count(201), codes.count(409)) == (1, 49)


async def test_a_repeat_is_known_as_one_whatever_has_happened_since(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    await scene.good("alice", "POST", "ghosts", ghost("g"))
    patch, once = {"metadata": {"labels": {"a": "b"}}}, {"Idempotency-Key": "patched"}
    first = await scene.ask("alice", "PATCH", "ghosts/g", patch, headers=once)
    assert first.status_code == 200
    await scene.good("developer", "PATCH", "ghosts/g", {"spec": {"description": "changed since then"}})
    tag = (await scene.ask("alice", "GET", "ghosts/g")).headers["ETag"]
    tagged = {"Idempotency-Key": "tagged", "If-Match": tag}
    second = await scene.ask("alice", "PATCH", "ghosts/g", {"spec": {"x": 1}}, headers=tagged)
    assert second.status_code == 200, second.text
    for what, body, headers in (("a patch", patch, once), ("with a tag", {"spec": {"x": 1}}, tagged)):
        with subtests.test(what):
            again = await scene.ask("alice", "PATCH", "ghosts/g", body, headers=headers)
            assert (again.status_code, again.json()["code"]) == (409, "already_done")
    with subtests.test("a package"):
        path, query = f"{KINDS}/skills/s/package", {"namespace": ALPHA}
        headers = scene.headers("alice") | AS_ZIP | {"Idempotency-Key": "package"}
        answers = [
            await scene.http.put(path, content=SKILL_PACKAGE, params=query, headers=headers) for _ in range(2)
        ]
        assert answers[0].status_code == 200
        assert (answers[1].status_code, answers[1].json()["code"]) == (409, "already_done")


async def test_a_cookie_applies_only_for_our_own_pages(scene: Scene, subtests: pytest.Subtests) -> None:
    """These routes take what a form of any page can send."""
    login = await scene.http.post("/api/v1/auth/login", json={"username": "alice", "password": PASSWORD})
    cookie = {"Cookie": f"sbx_access={login.cookies['sbx_access']}"}
    scene.http.cookies.clear()
    for source in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        for media in ("text/plain", "application/x-www-form-urlencoded", "application/yaml"):
            with subtests.test("apply", source=str(source), media=media):
                answer = await scene.http.post(
                    "/api/v1/apply",
                    content=json.dumps(ghost("planted")),
                    params={"namespace": ALPHA},
                    headers=cookie | source | {"Content-Type": media},
                )
                assert answer.status_code == 403, answer.text
        with subtests.test("package", source=str(source)):
            answer = await scene.http.put(
                f"{KINDS}/skills/planted/package",
                content=SKILL_PACKAGE,
                params={"namespace": ALPHA},
                headers=cookie | source | AS_ZIP,
            )
            assert answer.status_code == 403, answer.text
    assert (await scene.good("alice", "GET", "ghosts"))["items"] == []


async def test_what_is_referred_to_and_deleted_at_once_leaves_no_loose_end(scene: Scene) -> None:
    """Across projects, whoever is faster."""
    for number in range(25):
        name = f"s{number}"
        await scene.good("bob", "POST", "ghosts", ghost(name), namespace=BETA)
        answers = await asyncio.gather(
            scene.ask("writer", "POST", "bots", bot(name, {"name": name, "namespace": BETA})),
            scene.ask("bob", "DELETE", f"ghosts/{name}", namespace=BETA),
        )
        assert tuple(answer.status_code for answer in answers) in {(201, 409), (422, 204)}
    async with scene.installation.sql() as connection:
        loose = await connection.fetchval(
            "select count(*) from catalog.refs join catalog.resources on uid in (from_uid, to_uid)"
            " where deleted_at is not null"
        )
    assert loose == 0


# -- how much somebody takes -------------------------------------------------------------------------------


async def test_very_much_that_is_wrong_is_told_in_part(scene: Scene, subtests: pytest.Subtests) -> None:
    """Each of these is one small request; its answer must not be a large one, nor be kept as one."""
    args = {"m": {"args": [1] * 80_000}}
    numbers = {str(number): number for number in range(30_000)}
    asterisks = {"m": {"args": ["***"] * 30_000}}
    names = [f"s{number}" for number in range(500)]
    tries: dict[str, Any] = {
        "no texts": lambda: scene.ask("alice", "POST", "ghosts", ghost("g", mcpServers=args)),
        "no labels": lambda: scene.ask("alice", "POST", "ghosts", _labelled("labels", numbers)),
        "no annotations": lambda: scene.ask("alice", "POST", "ghosts", _labelled("annotations", numbers)),
        "no keys": lambda: scene.ask("alice", "POST", "ghosts", ghost("g", mcpServers=asterisks)),
        "nothing there": lambda: scene.apply(
            "alice", [ghost(f"g{number}", skills=names) for number in range(80)]
        ),
        "no keys anywhere": lambda: scene.apply(
            "alice",
            [ghost(f"g{number}", mcpServers={"m": {"args": ["***"] * 900}}) for number in range(80)],
        ),
    }
    for what, attempt in tries.items():
        with subtests.test(what):
            answer = await attempt()
            assert answer.status_code == 422, answer.text[:300]
            assert 0 < len(answer.json()["errors"]) <= MOST_ERRORS
    with subtests.test("what is remembered"):
        async with scene.installation.sql() as connection:
            longest = await connection.fetchval("select max(length(reply)) from catalog.inbox")
        assert longest < 512 * 1024


def _labelled(field: str, values: dict[str, Any]) -> dict[str, Any]:
    document = ghost("g")
    document["metadata"][field] = values
    return document


async def test_a_text_that_grows_on_its_way_is_refused_clearly(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    """JSON writes some characters as two, others as six; a message of the bus has an end."""
    mebibyte = 1024 * 1024
    for what, text in {
        "lines": "\n" * mebibyte,
        "quotes": '"' * mebibyte,
        "backslashes": "\\" * mebibyte,
        "control characters": "\x01" * 400_000,
        "a comment": "#" + "\\" * (mebibyte - 1),
    }.items():
        with subtests.test(what):
            answer = await scene.apply("alice", text)
            assert answer.status_code in (200, 413, 422), answer.text
    with subtests.test("numbers"):
        body = json.dumps(ghost("g", x="NUMBERS")).replace('"NUMBERS"', f"[{','.join(['1e15'] * 100_000)}]")
        answer = await scene.http.post(
            f"{KINDS}/ghosts",
            content=body,
            params={"namespace": ALPHA},
            headers=scene.headers("alice") | JSON,
        )
        assert answer.status_code in (413, 422), answer.text


async def test_a_tree_does_not_grow_beyond_its_resources(scene: Scene) -> None:
    """The same skill a hundred times, below the same bot a hundred times, are three small resources."""
    await scene.good("alice", "POST", "skills", {"metadata": {"name": "s"}, "spec": {"description": "d"}})
    await scene.good("alice", "POST", "ghosts", ghost("wide", skills=["s"] * 120))
    await scene.good("alice", "POST", "bots", bot("wide", {"name": "wide"}))
    team = {"metadata": {"name": "wide"}, "spec": {"bots": ["wide"] * 120}}
    answer = await scene.ask("alice", "POST", "teams", team)
    if answer.status_code == 201:
        answer = await scene.ask("reader", "GET", "teams/wide/resolved")
    assert answer.status_code in (200, 413, 422), answer.text[:300]


async def test_trees_take_little_memory(scene: Scene, subtests: pytest.Subtests) -> None:
    """Neither while one is put together that is too large in the end, nor for being kept."""
    long = "x" * 250_000
    for number in range(50):
        skill = {"metadata": {"name": f"s{number}"}, "spec": {"description": "d", "prompt": long}}
        await scene.good("alice", "POST", "skills", skill)
    await scene.good("alice", "POST", "ghosts", ghost("wide", skills=["s0"] * 50))
    await scene.good("alice", "POST", "bots", bot("wide", {"name": "wide"}))
    team = {"metadata": {"name": "wide"}, "spec": {"bots": ["wide"] * 50}}
    await scene.good("alice", "POST", "teams", team)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = await scene.ask("reader", "GET", "teams/wide/resolved")
    with subtests.test("of one"):
        assert answer.status_code in (200, 413, 422), answer.text[:300]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024, "100 MiB"
    await scene.good("alice", "POST", "ghosts", ghost("all", skills=[f"s{n}" for n in range(50)]))
    for number in range(25):
        await scene.good("alice", "POST", "bots", bot(f"b{number}", {"name": "all"}))
    gc.collect()
    held = psutil.Process().memory_info().rss
    for number in range(25):
        await scene.ask("reader", "GET", f"bots/b{number}/resolved")
    gc.collect()
    with subtests.test("of many"):
        assert psutil.Process().memory_info().rss - held < 150 * 1024 * 1024


async def test_a_page_costs_what_is_on_it(scene: Scene) -> None:
    """And not what would have been on it, had it been allowed to be that long."""
    lists = [[1]] * 30_000
    for number in range(40):
        await scene.good("alice", "POST", "ghosts", ghost(f"g{number:02}", x=lists))

    async def seconds(limit: int) -> float:
        before = time.perf_counter()
        page = await scene.good("reader", "GET", "ghosts", limit=limit)
        assert 2 <= len(page["items"]) < 10
        return time.perf_counter() - before

    await seconds(2)
    few, many = await seconds(2), await seconds(500)
    assert many < 4 * few + 0.2


async def test_who_waits_for_one_project_holds_up_no_other(scene: Scene) -> None:
    """Many changes of one project wait for each other; everybody else still reaches the database."""
    async with scene.installation.sql() as connection, connection.transaction():
        await connection.execute(
            "select 1 from catalog.namespaces where project_id = $1::uuid for update", scene.projects[ALPHA]
        )
        waiting = [
            asyncio.create_task(scene.ask("alice", "POST", "ghosts", ghost(f"g{number}")))
            for number in range(20)
        ]

        async def all_wait() -> bool:
            waits = "wait_event_type = 'Lock' and datname = current_database()"
            return await scene.installation.count("pg_stat_activity", waits) == AT_ONCE

        # The others wait for their turn in the process, and hold no connection.
        await eventually(all_wait, within=3, what="as many as may wait for the lock")
        others = await asyncio.gather(
            *(scene.ask("bob", "GET", "ghosts/spirit", namespace=BETA) for _ in range(5)),
            scene.ask("bob", "POST", "ghosts", ghost("new"), namespace=BETA),
        )
    answers = await asyncio.gather(*waiting)
    assert [answer.status_code for answer in others] == [200] * 5 + [201]
    assert {answer.status_code for answer in answers} <= {201, 503, 504}


# -- packages ----------------------------------------------------------------------------------------------


async def test_a_refused_package_takes_no_room(scene: Scene, subtests: pytest.Subtests) -> None:
    """The bucket is everybody's, and it has an end."""
    narrow = await scene.http.post(
        "/api/v1/auth/tokens",
        json={"name": "n", "scopes": ["catalog:read"]},
        headers=scene.headers("alice"),
    )
    junk = b"no ZIP" * 10_000
    path, query = f"{KINDS}/skills/junk/package", {"namespace": ALPHA}
    async with scene.installation.bus("catalog") as bus:
        bucket = Bucket(bus.connection, PACKAGE_BUCKET)
        for what, headers, status in (
            ("no ZIP", scene.headers("alice"), 422),
            ("another scope", bearer(narrow.json()["token"]), 403),
            ("a viewer", scene.headers("reader"), 403),
            ("a stranger", scene.headers("bob"), 404),
            ("nobody", {}, 401),
        ):
            answer = await scene.http.put(path, content=junk, params=query, headers=headers | AS_ZIP)
            assert answer.status_code == status, answer.text

            async def empty() -> bool:
                return await bucket.all() == []

            with subtests.test(what):
                await promptly(empty, what="what was refused is gone")
            for left in await bucket.all():
                await bucket.delete(left.name)


async def test_a_package_that_finds_no_room_takes_none(scene: Scene, subtests: pytest.Subtests) -> None:
    """What of it was stored before the end goes away again: nothing else would ever find it."""
    mebibyte = 1024 * 1024
    path, query = f"{KINDS}/skills/large/package", {"namespace": ALPHA}
    async with scene.installation.nats() as client:
        jetstream = client.jetstream()
        config = (await jetstream.stream_info(f"OBJ_{PACKAGE_BUCKET}")).config
        config.max_bytes = 8 * mebibyte
        await jetstream.update_stream(config)
        answer = await scene.http.put(
            path,
            content=os.urandom(9 * mebibyte),
            params=query,
            headers=scene.headers("alice") | AS_ZIP,
        )
        with subtests.test("the answer"):
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_full")

        async def empty() -> bool:
            return (await jetstream.stream_info(f"OBJ_{PACKAGE_BUCKET}")).state.bytes < mebibyte

        with subtests.test("the room"):
            await eventually(empty, within=3, what="the pieces are gone")


async def test_a_package_of_long_names_spoils_no_list(scene: Scene, subtests: pytest.Subtests) -> None:
    """Its table of contents is part of the skill; what cannot be answered is refused before it is kept."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("SKILL.md", "---\ndescription: d\n---\n")
        for number in range(998):
            archive.writestr("/".join(['"' * 254] * 3) + "/" + f"{number:04}" + '"' * 250, b"")
    put = await scene.http.put(
        f"{KINDS}/skills/long/package",
        content=packed.getvalue(),
        params={"namespace": ALPHA},
        headers=scene.headers("alice") | AS_ZIP,
    )
    with subtests.test("the answer"):
        assert put.status_code in (200, 413, 422), put.text[:300]
    await scene.good("alice", "POST", "skills", {"metadata": {"name": "zz"}, "spec": {"description": "d"}})
    with subtests.test("the list"):
        answer = await scene.ask("reader", "GET", "skills")
        assert answer.status_code == 200, answer.text[:300]
    if put.status_code == 200:
        with subtests.test("a tree of two such skills"):
            await scene.good("alice", "POST", "ghosts", ghost("two", skills=["long", "zz"]))
            answer = await scene.ask("reader", "GET", "ghosts/two/resolved")
            assert answer.status_code == 200, answer.text[:300]


async def test_an_answer_about_a_package_is_for_its_project(scene: Scene) -> None:
    """Under another namespace it is not there, to the byte."""
    query = {"namespace": BETA}
    headers = scene.headers("bob") | AS_ZIP
    path = f"{KINDS}/skills/craft-of-beta/package"
    put = await scene.http.put(path, content=SKILL_PACKAGE, params=query, headers=headers)
    assert put.status_code == 200, put.text

    async def told(where: str, namespace: str) -> httpx.Response:
        return await scene.ask("developer", "GET", where, headers=IDS, namespace=namespace)

    for suffix in ("package", "package/files"):
        own = await told(f"skills/craft-of-beta/{suffix}", ALPHA)
        nobodys = await told(f"skills/craft-of-nobody/{suffix}", ALPHA)
        assert seen(own, "craft-of-beta") == seen(nobodys, "craft-of-nobody")
        theirs = await told(f"skills/craft-of-beta/{suffix}", BETA)
        missing = await told(f"skills/craft-of-beta/{suffix}", "gamma")
        assert seen(theirs, BETA) == seen(missing, "gamma")
