"""What one account might try on the catalog: asterisks, cursors, patches."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from signalbox_catalog.domain.resources import StoredSecret
from signalbox_catalog.service.vault import Vault
from signalbox_catalog.settings import CatalogSettings
from signalbox_common.db import Database
from signalbox_common.keys import uuid7
from signalbox_common.secrets import KeyFile, LocalSecrets
from tests.security.abuse import AS_ZIP, JSON, NUMBERS
from tests.security.matrix import SKILL_PACKAGE
from tests.security.scene import ALPHA, Scene, ghost, two_projects
from tests.support.catalog import KINDS
from tests.support.installation import Installation

pytestmark = pytest.mark.fresh  # its people and projects have the same names in each test
KEY = "sk-live-0123456789abcdef"
FOREIGN = "agent.wecode.io/v1"


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


# -- `***` ------------------------------------------------------------------------------------------------


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


# -- what fits nowhere ------------------------------------------------------------------------------------


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
