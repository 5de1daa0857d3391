"""Who may change what of two projects, and as what."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from signalbox_common.testing import eventually
from tests.security.matrix import SKILL_PACKAGE, ZIP
from tests.security.scene import (
    ALPHA,
    BETA,
    EVERYTHING,
    IDS,
    KEY,
    OF_BETA,
    Scene,
    bot,
    ghost,
    seen,
    two_projects,
)
from tests.support.catalog import KINDS
from tests.support.factories import bearer
from tests.support.installation import Installation

pytestmark = pytest.mark.fresh  # its people and projects have the same names in each test
LONG_AGO = "2001-01-01T00:00:00Z"


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with two_projects(installation) as scene:
        yield scene


# -- who may change what ----------------------------------------------------------------------------------
NO_DOCUMENTS = {
    "nothing": "",
    "comments": "# nothing\n---\n---\n",
    "documents of others": "apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n",
}


async def test_pruning_takes_the_role_whatever_the_documents_are(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    """Also where there are none, or none of ours."""
    await scene.good("alice", "POST", "ghosts", ghost("precious"))
    prune = {"prune": "true", "labelSelector": EVERYTHING}
    for what, text in NO_DOCUMENTS.items():
        for who, namespace in (("reader", ALPHA), ("writer", BETA)):
            for dry in ("true", "false"):
                with subtests.test(what, who=who, dry_run=dry):
                    answer = await scene.apply(who, text, namespace=namespace, dryRun=dry, **prune)
                    assert answer.status_code in (403, 422), answer.text
        with subtests.test(what, who="stranger"):
            theirs = await scene.apply("developer", text, namespace=BETA, **prune)
            missing = await scene.apply("developer", text, namespace="gamma", **prune)
            assert theirs.status_code in (404, 422)
            assert seen(theirs, BETA) == seen(missing, "gamma")
    for who, namespace in (("reader", ALPHA), ("writer", BETA)):
        with subtests.test("a document", who=who):
            answer = await scene.apply(who, [ghost("x", namespace)], **prune)
            assert (answer.status_code, answer.json()["code"]) == (403, "role_too_low")
    await scene.good("alice", "GET", "ghosts/precious")
    await scene.good("bob", "GET", "ghosts/spirit", namespace=BETA)


async def test_one_closed_namespace_closes_the_whole_apply(scene: Scene, subtests: pytest.Subtests) -> None:
    """And another's is like one that is not there, wherever it is named."""
    for closed, like in ((BETA, "gamma"), ("bob", "gamma")):
        for what, documents in {
            "one of two": [ghost("a"), ghost("b", "{ns}")],
            "all": [ghost("b", "{ns}")],
        }.items():
            for dry in ("true", "false"):
                with subtests.test(what, closed=closed, dry_run=dry):
                    answers = [
                        await scene.apply(
                            "developer", json.dumps(documents).replace("{ns}", namespace), dryRun=dry
                        )
                        for namespace in (closed, like)
                    ]
                    assert seen(answers[0], closed) == seen(answers[1], like)
                    assert (answers[0].status_code, answers[0].json()["code"]) == (404, "project_not_found")
    low = await scene.apply("writer", [ghost("a"), ghost("b", BETA)])
    assert (low.status_code, low.json()["code"]) == (403, "role_too_low")
    names = [item["metadata"]["name"] for item in (await scene.good("alice", "GET", "ghosts"))["items"]]
    assert names == []


async def test_the_namespace_of_the_document_is_the_one_that_counts(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    """Naming an own one in the address opens no other."""
    await scene.good("alice", "POST", "ghosts", ghost("spirit"))
    for method, path, body in (
        ("POST", "ghosts", ghost("new", "{ns}")),
        ("PUT", "ghosts/spirit", ghost("spirit", "{ns}")),
        ("PATCH", "ghosts/spirit", {"metadata": {"namespace": "{ns}"}, "spec": {"description": "d"}}),
    ):
        with subtests.test(method):
            answers = []
            for namespace in (BETA, "gamma"):
                named = json.loads(json.dumps(body).replace("{ns}", namespace))
                answers.append(await scene.ask("developer", method, path, named, headers=IDS))
            assert seen(answers[0], BETA) == seen(answers[1], "gamma")
            assert answers[0].json()["code"] == "project_not_found"
    theirs = await scene.good("bob", "GET", "ghosts/spirit", namespace=BETA)
    assert theirs["metadata"]["generation"] == 1
    for odd in (7, ["beta"], {"a": "b"}, True, "b" * 64, "beta\x00", "\ud800", "", None):
        with subtests.test("odd namespace", odd=repr(odd)[:20]):
            content = json.dumps({"metadata": {"name": "odd", "namespace": odd}, "spec": {}})
            answer = await scene.http.post(
                f"{KINDS}/ghosts",
                content=content,
                params={"namespace": ALPHA},
                headers=scene.headers("developer") | {"Content-Type": "application/json"},
            )
            assert answer.status_code == 422, answer.text


# -- default ----------------------------------------------------------------------------------------------


async def test_default_is_everybodys_own(scene: Scene) -> None:
    for who in ("alice", "bob"):
        await scene.good(who, "POST", "ghosts", ghost("mine", description=who), namespace="default")
    for who in ("alice", "bob"):
        mine = await scene.good(who, "GET", "ghosts/mine", namespace="default")
        assert (mine["metadata"]["namespace"], mine["spec"]["description"]) == (who, who)
    unseen = await scene.ask("alice", "GET", "ghosts/mine", namespace="bob")
    assert unseen.json()["code"] == "project_not_found"


async def test_default_in_a_reference_is_the_writers(scene: Scene) -> None:
    """It is written out, so that it means the same to all who read it; and it opens nothing to them."""
    for who in ("writer", "developer"):
        await scene.good(who, "POST", "ghosts", ghost("mine", description=who), namespace="default")
    at_home = {"name": "mine", "namespace": "default"}
    made = await scene.good("writer", "POST", "bots", bot("shared", at_home))
    assert made["spec"]["ghostRef"]["namespace"] == "writer"
    applied = await scene.apply("writer", [bot("applied", at_home)])
    assert applied.status_code == 200, applied.text
    for name in ("shared", "applied"):
        tree = await scene.good("developer", "GET", f"bots/{name}/resolved")
        below = tree["references"]["ghostRef"]
        assert below == {"kind": "Ghost", "namespace": "writer", "name": "mine", "unreadable": True}
        own = await scene.good("writer", "GET", f"bots/{name}/resolved")
        assert own["references"]["ghostRef"]["spec"]["description"] == "writer"


async def test_default_of_a_machine_is_its_project(scene: Scene, subtests: pytest.Subtests) -> None:
    accounts = f"/api/v1/projects/{scene.projects[ALPHA]}/service-accounts"
    owner = scene.headers("alice")
    account = await scene.http.post(accounts, json={"name": "robot", "role": "developer"}, headers=owner)
    path = f"{accounts}/{account.json()['id']}/tokens"
    token = (await scene.http.post(path, json={"name": "t"}, headers=owner)).json()["token"]

    async def ask(method: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        return await scene.http.request(
            method, f"{KINDS}/{path}", json=body, params=query, headers=bearer(token) | IDS
        )

    made = await ask("POST", "ghosts", ghost("machined"), namespace="default")
    assert made.json()["metadata"]["namespace"] == ALPHA
    await scene.good("reader", "GET", "ghosts/machined")
    for namespace in (BETA, "bob", "alice", "writer"):
        with subtests.test(namespace):
            closed = await ask("GET", "ghosts", namespace=namespace)
            missing = await ask("GET", "ghosts", namespace="gamma")
            assert seen(closed, namespace) == seen(missing, "gamma")
    refused = await ask("POST", "bots", bot(), namespace=ALPHA)
    assert refused.json()["errors"][0]["code"] == "reference_not_found"


# -- what is not one's own to say -------------------------------------------------------------------------
WISHES: dict[str, Any] = {
    "uid": "00000000-0000-7000-8000-000000000000",
    "createdBy": "00000000-0000-7000-8000-000000000000",
    "createdAt": LONG_AGO,
    "updatedAt": LONG_AGO,
    "deletedAt": LONG_AGO,
    "generation": 99,
}
"""What stands in a resource that somebody has read, and may send again, as something else."""
UNKNOWN: dict[str, Any] = {
    "created_by": "00000000-0000-7000-8000-000000000000",
    "creationTimestamp": LONG_AGO,
    "deletionTimestamp": LONG_AGO,
    "version": 99,
    "projectId": "00000000-0000-7000-8000-000000000000",
    "project_id": "00000000-0000-7000-8000-000000000000",
    "secrets": {"/systemPrompt": {"bundle": "resources/x", "mark": "x"}},
    "ownerReferences": [{"uid": "x"}],
    "finalizers": ["x"],
}


async def test_nobody_says_what_the_catalog_says(scene: Scene, subtests: pytest.Subtests) -> None:
    status = {"state": "Broken", "package": {"object": "a" * 32, "sha256": "x"}}

    def wishing(**spec: Any) -> dict[str, Any]:
        wished = ghost("wished", **spec)
        wished["metadata"] |= WISHES
        return wished | {"status": status}

    for name, wish in UNKNOWN.items():
        for refused in (wishing() | {name: wish}, wishing() | {"metadata": {"name": "wished", name: wish}}):
            answer = await scene.ask("writer", "POST", "ghosts", refused)
            assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field"), answer.text
    made = await scene.good("writer", "POST", "ghosts", wishing())
    fixed = ("uid", "createdBy", "createdAt", "deletedAt", "namespace", "name")
    assert made["status"] == {"state": "Available"}
    assert made["metadata"]["createdBy"] == scene.people["writer"].id
    assert (made["metadata"]["generation"], made["metadata"]["deletedAt"]) == (1, None)
    ways: dict[str, Any] = {
        "replace": lambda: scene.good("developer", "PUT", "ghosts/wished", wishing(description="a")),
        "patch": lambda: scene.good("developer", "PATCH", "ghosts/wished", wishing(description="b")),
        "apply": lambda: scene.apply("developer", [wishing(description="c")]),
    }
    for number, (way, change) in enumerate(ways.items(), 2):
        with subtests.test(way):
            await change()
            now = await scene.good("reader", "GET", "ghosts/wished")
            assert {name: now["metadata"][name] for name in fixed} == {
                name: made["metadata"][name] for name in fixed
            }
            assert (now["metadata"]["generation"], now["status"]) == (number, {"state": "Available"})
            assert not now["metadata"]["updatedAt"].startswith("2001")
    async with scene.installation.sql() as connection:
        rows = await connection.fetch("select * from catalog.resources where name = 'wished'")
    assert [(row["secrets"], str(row["project_id"])) for row in rows] == [("{}", scene.projects[ALPHA])]


# -- what is written down ---------------------------------------------------------------------------------


def _model(name: str, key: str = KEY, namespace: str | None = None, **labels: str) -> dict[str, Any]:
    document = ghost(name, namespace) | {"kind": "Model", "spec": {"provider": "openai", "apiKey": key}}
    document["metadata"]["labels"] = labels
    return document


async def test_every_change_of_many_is_in_the_log_of_its_project(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    """Those of an apply, of a cascade and of pruning, each once and each in its own project."""
    applied = await scene.apply(
        "alice", [_model("a", part="of"), ghost("b"), _model("home", namespace="default")]
    )
    assert applied.status_code == 200, applied.text
    again = await scene.apply("alice", [_model("a", part="of"), ghost("b")])
    assert {item["action"] for item in again.json()["items"]} == {"unchanged"}
    pruned = await scene.apply("alice", [ghost("b")], prune="true", labelSelector="part=of")
    assert [item["action"] for item in pruned.json()["items"]] == ["unchanged", "deleted"]
    await scene.good("alice", "POST", "bots", bot("bot", {"name": "b"}))
    await scene.good("alice", "DELETE", "ghosts/b", cascade="true")
    expected = {
        ("catalog.apply", "Model/a"): 2,
        ("catalog.apply", "Ghost/b"): 1,
        ("catalog.delete", "Bot/bot"): 1,
        ("catalog.delete", "ghosts/b"): 1,
    }

    async def written() -> dict[tuple[str, str], int]:
        lines = [
            (line["action"], line["resource"])
            for line in await scene.log(ALPHA)
            if line["outcome"] == "succeeded"
        ]
        return {about: lines.count(about) for about in expected}

    async def complete() -> bool:
        return await written() == expected

    await eventually(complete, what="every change is written down")
    with subtests.test("nothing of another project"):
        assert "Model/home" not in json.dumps(await scene.log(ALPHA))
    with subtests.test("by whom, with what"):
        for line in await scene.log(ALPHA, action="catalog."):
            assert line["actor"] == scene.people["alice"].id
            assert line["credential"].startswith("session:")
            assert line["project"] == scene.projects[ALPHA]


async def test_what_was_refused_is_in_the_log_of_its_project(scene: Scene, subtests: pytest.Subtests) -> None:
    """Its owner sees who has tried what, however it was tried."""
    await scene.good("alice", "POST", "ghosts", ghost("own"))
    await scene.good("alice", "POST", "bots", bot("bot", {"name": "own"}))
    tries: dict[tuple[str, str], Any] = {
        ("catalog.create", "role_too_low"): lambda: scene.ask("reader", "POST", "ghosts", ghost("x")),
        ("catalog.patch", "role_too_low"): lambda: scene.ask("reader", "PATCH", "ghosts/own", {}),
        ("catalog.delete", "role_too_low"): lambda: scene.ask("reader", "DELETE", "ghosts/own"),
        ("catalog.delete", "still_referenced"): lambda: scene.ask("alice", "DELETE", "ghosts/own"),
        ("catalog.attach-package", "role_too_low"): lambda: _packaged(scene, "reader"),
        ("catalog.apply", "role_too_low"): lambda: scene.apply("reader", [ghost("x")]),
        ("catalog.apply", "validation_failed"): lambda: scene.apply("alice", [bot("y")]),
        ("catalog.apply", "still_referenced"): lambda: scene.apply(
            "alice", [ghost("z")], prune="true", labelSelector="!of,!nobody"
        ),
    }
    await scene.good("alice", "PATCH", "bots/bot", {"metadata": {"labels": {"of": "alpha"}}})
    for (action, code), attempt in tries.items():
        answer = await attempt()
        assert answer.json()["code"] == code, answer.text

        async def written(action: str = action, code: str = code) -> bool:
            lines = await scene.log(ALPHA, action=action, outcome="refused")
            return code in [line["code"] for line in lines]

        with subtests.test(action, code=code):
            await eventually(written, within=3, what="the refusal is written down")


async def _packaged(scene: Scene, who: str) -> httpx.Response:
    return await scene.http.put(
        f"{KINDS}/skills/s/package",
        content=SKILL_PACKAGE,
        params={"namespace": ALPHA},
        headers=scene.headers(who) | {"Content-Type": ZIP},
    )


async def test_a_key_is_nowhere_but_in_the_secret_store(scene: Scene, subtests: pytest.Subtests) -> None:
    """In no table, no stream, no answer and no line, whatever became of it."""
    sent = {"X-Request-ID": "with-a-key", "Idempotency-Key": "once"}
    tool = {"m": {"env": {"GITHUB_TOKEN": KEY}, "args": ["--api-key", KEY, f"TOKEN={KEY}"]}}
    answers = [
        await scene.ask("alice", "POST", "models", _model("kept"), headers=sent),
        await scene.ask("alice", "POST", "models", _model("kept"), headers=sent),
        await scene.ask("alice", "PUT", "models/kept", _model("kept", KEY + "2")),
        await scene.ask("alice", "PATCH", "models/kept", {"spec": {"apiKey": KEY + "3"}}),
        await scene.ask(
            "alice", "PATCH", "models/kept", {"spec": {"apiKey": KEY}}, headers={"If-Match": '"1"'}
        ),
        await scene.ask("alice", "POST", "models", _model("Not A Name")),
        await scene.ask("reader", "POST", "models", _model("refused")),
        await scene.ask("alice", "POST", "ghosts", ghost("tools", mcpServers=tool)),
        await scene.ask("alice", "POST", "ghosts", ghost("broken", mcpServers=tool, skills=["none"])),
        await scene.apply("alice", [_model("applied"), _model("kept", KEY + "4")]),
        await scene.apply("alice", [_model("dry"), _model("kept", KEY + "5")], dryRun="true"),
        await scene.apply("alice", [_model("fails"), bot("no-such")]),
        await scene.apply("alice", f"apiVersion: signalbox.dev/v1\nkind: Model\nspec: {{apiKey: {KEY}\n"),
        await scene.ask("alice", "GET", "models/kept/history"),
        await scene.ask("alice", "GET", "models/kept/history/2"),
        await scene.ask("alice", "POST", "models/kept/history/1/rollback"),
        await scene.ask("alice", "GET", "models/kept/resolved"),
        await scene.ask("alice", "GET", "models", watch="true", timeoutSeconds="1", resourceVersion="0"),
        await scene.ask("alice", "DELETE", "models/kept"),
        await scene.ask("alice", "POST", "models/kept/restore"),
        await scene.ask("alice", "GET", "models"),
    ]
    for number, answer in enumerate(answers):
        with subtests.test("answer", number=number):
            assert KEY not in answer.text
            assert KEY not in str(answer.headers)

    async def told() -> bool:
        return await scene.installation.count("catalog.outbox") == 0

    await eventually(told)
    for service in ("catalog", "auth"):
        with subtests.test("tables", service=service):
            assert [table async for table in _holding(scene, service, KEY)] == []
    for stream in ("COMMANDS", "EVENTS", "DEAD_LETTERS", "REVOCATIONS"):
        with subtests.test("stream", stream=stream):
            for message in await scene.installation.messages(stream):
                assert KEY.encode() not in message.data
                assert KEY not in str(message.headers)
    with subtests.test("audit log"):
        assert KEY not in json.dumps(await scene.log(ALPHA))


async def _holding(scene: Scene, schema: str, word: str) -> AsyncIterator[str]:
    """The tables of a service in which that word stands, bytes included."""
    async with scene.installation.sql() as connection:
        tables = await connection.fetch("select tablename from pg_tables where schemaname = $1", schema)
        for row in tables:
            table = f"{schema}.{row['tablename']}"
            found = await connection.fetchval(
                f"select count(*) from {table} as t"
                " where t::text like '%' || $1 || '%' or t::text like '%' || $2 || '%'",
                word,
                word.encode().hex(),
            )
            if found:
                yield table


async def test_events_go_out_under_the_project_that_they_are_about(scene: Scene) -> None:
    """Of a change in several projects, too."""
    applied = await scene.apply("alice", [ghost("here"), ghost("there", "default")])
    assert applied.status_code == 200, applied.text
    await scene.good("writer", "POST", "bots", bot())
    await scene.good("bob", "PATCH", "ghosts/spirit", {"spec": {"description": "new"}}, namespace=BETA)

    async def told() -> bool:
        return await scene.installation.count("catalog.outbox") == 0

    await eventually(told)
    slugs = {scene.projects[ALPHA]: ALPHA, scene.projects[BETA]: BETA}
    found = list(_facts(await scene.installation.messages("EVENTS", "evt.*.catalog.resource.*")))
    assert {fact["name"] for _, fact in found} >= {"here", "there", "bot", "spirit"}
    for project, fact in found:
        assert fact["namespace"] == slugs.get(project, "alice")
        assert not [word for word in OF_BETA[:1] if word in json.dumps(fact)]


def _facts(messages: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for message in messages:
        yield str(message.subject).split(".")[1], json.loads(message.data)
