"""Resources of two projects that refer to each other: nobody reads, learns or changes more than their own."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus, Sending
from signalbox_common.contracts import auth
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.base import Ask, Query
from signalbox_common.errors import SignalboxError
from signalbox_common.keys import uuid7
from signalbox_common.testing import eventually
from tests.security.matrix import SKILL_PACKAGE, ZIP
from tests.security.scene import (
    ALPHA,
    BETA,
    IDS,
    OF_BETA,
    SPIRIT,
    Scene,
    Seen,
    bot,
    ghost,
    seen,
    two_projects,
)
from tests.support.catalog import KINDS
from tests.support.forgery import Signer, grant_claims
from tests.support.installation import Installation
from tests.support.pace import promptly
from tests.support.people import bearer

pytestmark = pytest.mark.fresh  # its people and projects have the same names in each test

EVERYTHING = "!nobody-has-this"
"""A label selector that everything fits."""
KEY = "sk-live-0123456789abcdef"
"""A key, as somebody would put one into a spec."""
LONG_AGO = "2001-01-01T00:00:00Z"


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with two_projects(installation) as scene:
        yield scene


# -- references into another namespace -------------------------------------------------------------------

NOT_THERE = {
    "another's": SPIRIT,
    "nobody's namespace": {"name": "spirit", "namespace": "gamma"},
    "nobody's ghost in another's namespace": {"name": "nobody", "namespace": BETA},
    "another's home": {"name": "spirit", "namespace": "bob"},
}
"""To who does not read beta, all the same."""


async def test_who_reads_a_namespace_may_refer_to_it(scene: Scene) -> None:
    made = await scene.good("writer", "POST", "bots", bot())
    assert made["spec"]["ghostRef"] == SPIRIT
    tree = await scene.good("writer", "GET", "bots/bot/resolved")
    assert tree["references"]["ghostRef"]["spec"]["systemPrompt"] == "Whisper of beta"
    refused = await scene.ask("writer", "PUT", "ghosts/spirit", ghost("spirit"), namespace=BETA)
    assert (refused.status_code, refused.json()["code"]) == (403, "role_too_low")


async def test_who_does_not_is_answered_as_if_it_were_not_there(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    """To the byte, but for the words that were asked for."""
    await scene.good("developer", "POST", "ghosts", ghost("own"))
    await scene.good("developer", "POST", "bots", bot("mine", {"name": "own"}))

    async def written(way: str, reference: dict[str, str]) -> httpx.Response:
        wanted = bot("mine", reference)
        match way:
            case "create":
                return await scene.ask("developer", "POST", "bots", bot("new", reference), headers=IDS)
            case "replace":
                return await scene.ask("developer", "PUT", "bots/mine", wanted, headers=IDS)
            case "patch":
                patch = {"spec": wanted["spec"]}
                return await scene.ask("developer", "PATCH", "bots/mine", patch, headers=IDS)
            case "apply":
                return await scene.apply("developer", [wanted])
            case _:
                return await scene.apply("developer", [wanted], dryRun="true")

    for way in ("create", "replace", "patch", "apply", "dry run"):
        answers: dict[str, Seen] = {}
        for what, reference in NOT_THERE.items():
            answer = await written(way, reference)
            answers[what] = seen(answer, reference["namespace"], reference["name"])
        with subtests.test(way):
            assert {answer[0] for answer in answers.values()} == {422}
            assert len({repr(answer) for answer in answers.values()}) == 1, answers
    mine = await scene.good("developer", "GET", "bots/mine")
    assert (mine["metadata"]["generation"], mine["spec"]["ghostRef"]) == (1, {"name": "own"})


async def test_who_has_lost_a_namespace_reads_nothing_of_it(scene: Scene) -> None:
    await scene.good("writer", "POST", "bots", bot())
    team = {"metadata": {"name": "team"}, "spec": {"bots": ["bot"]}}
    await scene.good("writer", "POST", "teams", team)
    await scene.remove(BETA, "writer")
    answer = await scene.ask("writer", "GET", "teams/team/resolved")
    below = answer.json()["references"]["members.0.botRef"]["references"]["ghostRef"]
    assert below == {"kind": "Ghost", "namespace": BETA, "name": "spirit", "unreadable": True}
    for word in OF_BETA:
        assert word not in answer.text
    again = [
        await scene.ask("writer", "POST", "bots", bot("again", reference), headers=IDS)
        for reference in (SPIRIT, {"name": "spirit", "namespace": "gamma"})
    ]
    assert seen(again[0], BETA) == seen(again[1], "gamma")
    assert again[0].status_code == 422


async def test_who_has_lost_a_namespace_refers_to_it_no_more(scene: Scene, subtests: pytest.Subtests) -> None:
    """Not by bringing back what was, either: that would tell what is there, and hold it there."""
    await scene.good("developer", "POST", "ghosts", ghost("own"))
    for name in ("rolled", "restored"):
        await scene.good("writer", "POST", "bots", bot(name))
    await scene.good("writer", "PUT", "bots/rolled", bot("rolled", {"name": "own"}))
    await scene.good("writer", "DELETE", "bots/restored")
    await scene.remove(BETA, "writer")
    for who in ("writer", "developer"):
        for way in ("bots/rolled/history/1/rollback", "bots/restored/restore"):
            with subtests.test(way, who=who):
                answer = await scene.ask(who, "POST", way)
                assert answer.status_code == 422, "what the asker cannot read is not there"
    gone = await scene.ask("bob", "DELETE", "ghosts/spirit", namespace=BETA)
    assert gone.status_code == 204, "nothing of alpha holds it any more"


async def test_what_happens_in_the_other_namespace_is_not_noticed(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    """The reader of alpha is told the same before and after, tags included."""
    await scene.good("writer", "POST", "bots", bot())

    async def told() -> dict[str, Seen]:
        paths = ("bots", "bots/bot", "bots/bot/resolved", "bots/bot/history", "bots/bot/history/1")
        return {path: seen(await scene.ask("reader", "GET", path, headers=IDS)) for path in paths}

    before = await told()
    tag = dict(before["bots/bot/resolved"][2])["etag"]
    await scene.good("bob", "PATCH", "ghosts/spirit", {"spec": {"description": "new"}}, namespace=BETA)
    await scene.good("bob", "PATCH", "skills/craft-of-beta", {"spec": {"prompt": "new"}}, namespace=BETA)
    after = await told()
    for path, answer in before.items():
        with subtests.test(path):
            assert after[path] == answer
    same = await scene.ask("reader", "GET", "bots/bot/resolved", headers={"If-None-Match": tag})
    assert same.status_code == 304
    theirs = await scene.good("writer", "GET", "bots/bot/resolved")
    assert theirs["references"]["ghostRef"]["spec"]["description"] == "new", "who may read it, sees it"


# -- what a member of the one learns of the other ---------------------------------------------------------


async def test_members_of_the_one_see_nothing_of_the_other(scene: Scene, subtests: pytest.Subtests) -> None:
    """Whatever they ask for, and whatever is done in both."""
    await scene.good("writer", "POST", "bots", bot())
    await scene.good("alice", "POST", "ghosts", ghost("own"))
    key = {"metadata": {"name": "model"}, "spec": {"provider": "sealed-in-beta", "apiKey": KEY}}
    await scene.good("bob", "POST", "models", key, namespace=BETA)
    both = await scene.apply("writer", [bot("second"), ghost("third")])
    assert both.status_code == 200, both.text
    told = {
        "list": await scene.ask("reader", "GET", "bots"),
        "one": await scene.ask("reader", "GET", "bots/bot"),
        "resolved": await scene.ask("reader", "GET", "bots/bot/resolved"),
        "history": await scene.ask("reader", "GET", "bots/bot/history"),
        "generation": await scene.ask("reader", "GET", "bots/bot/history/1"),
        "watch": await _watched(scene, "reader", "bots", resourceVersion="0"),
        "watch from the beginning": await _watched(scene, "reader", "ghosts"),
        "ghosts": await scene.ask("reader", "GET", "ghosts"),
        "deleted": await scene.ask("reader", "GET", "ghosts", deleted="true"),
        "dry run": await scene.apply("developer", [bot("fourth")], dryRun="true"),
        "apply": await scene.apply("developer", [bot("fourth"), ghost("fifth", BETA)]),
        "prune": await scene.apply(
            "developer", [ghost("own")], prune="true", labelSelector=EVERYTHING, dryRun="true"
        ),
        "prune elsewhere": await scene.apply(
            "developer", [ghost("x", BETA)], prune="true", labelSelector=EVERYTHING
        ),
        "cascade": await scene.ask("developer", "DELETE", "shells/shell", cascade="true"),
    }
    for what, answer in told.items():
        with subtests.test(what):
            assert not [word for word in OF_BETA if word in answer.text]
    with subtests.test("audit log"):
        written = json.dumps(await scene.log(ALPHA))
        assert scene.projects[BETA] not in written
        assert scene.people["bob"].id not in written
        assert not [word for word in OF_BETA if word in written]


async def _watched(scene: Scene, who: str, plural: str, **query: Any) -> httpx.Response:
    answer = await scene.ask(who, "GET", plural, watch="true", timeoutSeconds="1", **query)
    assert answer.status_code == 200, answer.text
    return answer


async def test_a_foreign_place_in_a_stream_shows_nothing_foreign(scene: Scene) -> None:
    """Every project counts for itself, so a number of another one is only a number."""
    for number in range(4):
        await scene.good("bob", "PATCH", "ghosts/spirit", {"spec": {"n": number}}, namespace=BETA)
    reached = (await scene.good("bob", "GET", "ghosts", namespace=BETA))["resourceVersion"]
    query: dict[str, Any] = {"watch": "true", "timeoutSeconds": "1"}
    ahead = await scene.ask("reader", "GET", "ghosts", headers={"Last-Event-ID": reached}, **query)
    assert (ahead.status_code, ahead.json()["code"]) == (410, "expired")
    behind = await scene.ask("reader", "GET", "ghosts", headers={"Last-Event-ID": "0"}, **query)
    assert behind.status_code == 200
    assert "spirit" not in behind.text


async def test_a_watch_ends_with_the_membership(scene: Scene) -> None:
    async def watched() -> str:
        answer = await scene.ask("writer", "GET", "ghosts", namespace=BETA, watch="true", timeoutSeconds="60")
        return answer.text

    watching = asyncio.create_task(watched())
    await asyncio.sleep(0.5)
    await scene.remove(BETA, "writer")
    late = ghost("spirit", systemPrompt="said when nobody of alpha was left", skills=["craft-of-beta"])
    await scene.good("bob", "PUT", "ghosts/spirit", late, namespace=BETA)
    text = await asyncio.wait_for(watching, 30)
    assert "spirit" in text
    assert "nobody of alpha" not in text


# -- deleting what others refer to -------------------------------------------------------------------------


async def test_the_owner_of_the_other_learns_no_names(scene: Scene, subtests: pytest.Subtests) -> None:
    await scene.good("writer", "POST", "bots", bot("secretive"))
    await scene.good(
        "bob", "POST", "shells", {"metadata": {"name": "s"}, "spec": {"shellType": "Chat"}}, namespace=BETA
    )
    own = bot("theirs", {"name": "spirit"})
    own["spec"]["shellRef"] = {"name": "s"}
    await scene.good("bob", "POST", "bots", own, namespace=BETA)
    of_alpha = ("secretive", ALPHA, scene.projects[ALPHA], scene.people["writer"].id)
    refused = {
        "delete": await scene.ask("bob", "DELETE", "ghosts/spirit", namespace=BETA),
        "cascade": await scene.ask("bob", "DELETE", "ghosts/spirit", namespace=BETA, cascade="true"),
        "cascade from below": await scene.ask(
            "bob", "DELETE", "skills/craft-of-beta", namespace=BETA, cascade="true"
        ),
        "prune": await scene.apply(
            "bob", [ghost("other", BETA)], namespace=BETA, prune="true", labelSelector="of"
        ),
        "dry prune": await scene.apply(
            "bob", [ghost("other", BETA)], namespace=BETA, prune="true", labelSelector="of", dryRun="true"
        ),
    }
    for what, answer in refused.items():
        with subtests.test(what):
            assert (answer.status_code, answer.json()["code"]) == (409, "still_referenced")
            assert not [word for word in of_alpha if word in answer.text]
    with subtests.test("operation"):
        operation = refused["delete"].headers["X-Operation-ID"]
        report = await scene.http.get(f"/api/v1/operations/{operation}", headers=scene.headers("bob"))
        assert report.json()["status"] == "failed"
        assert not [word for word in of_alpha if word in report.text.replace(operation, "")]
    for path in ("ghosts/spirit", "skills/craft-of-beta", "bots/theirs"):
        await scene.good("bob", "GET", path, namespace=BETA)
    with subtests.test("audit log"):
        written = json.dumps(await scene.log(BETA))
        assert "secretive" not in written
        assert scene.projects[ALPHA] not in written
    await scene.good("writer", "DELETE", "bots/secretive")
    await scene.good("bob", "DELETE", "ghosts/spirit", namespace=BETA, cascade="true")


async def test_a_deleted_project_holds_nothing_of_others(scene: Scene) -> None:
    """Nobody could undo it there: whoever may read something once could keep it for ever."""
    headers = scene.headers("writer")
    delta = await scene.http.project(headers, "Delta")
    shell = {"metadata": {"name": "shell"}, "spec": {"shellType": "Chat"}}
    await scene.good("writer", "POST", "shells", shell, namespace="delta")
    await scene.good("writer", "POST", "bots", bot(), namespace="delta")
    held = await scene.ask("bob", "DELETE", "ghosts/spirit", namespace=BETA)
    assert held.json()["code"] == "still_referenced"
    gone = await scene.http.delete(f"/api/v1/projects/{delta}", headers=headers)
    assert gone.status_code == 204

    async def free() -> bool:
        answer = await scene.ask("bob", "DELETE", "ghosts/spirit", namespace=BETA)
        return answer.status_code == 204

    await eventually(free, within=3, what="nothing holds it any more")


# -- who may change what -----------------------------------------------------------------------------------

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


# -- default -----------------------------------------------------------------------------------------------


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


# -- tokens ------------------------------------------------------------------------------------------------

READS = ("GET /ghosts", "GET /ghosts/own", "GET /ghosts/own/resolved", "GET /ghosts/own/history", "GET ")
WRITES = (
    "POST /ghosts",
    "PUT /ghosts/own",
    "PATCH /ghosts/own",
    "DELETE /ghosts/nobody",
    "POST /ghosts/nobody/restore",
    "POST /ghosts/own/history/1/rollback",
    "APPLY",
    "DRY RUN",
    "PRUNE",
)


@pytest.mark.parametrize(
    ("scopes", "reads", "writes"),
    [
        (["catalog:read"], True, False),
        (["catalog:write"], True, True),
        (["catalog:*"], True, True),
        (["*"], True, True),
        (["projects:*", "auth:*", "audit:read", "users:read"], False, False),
        (["tasks:write"], False, False),
    ],
)
async def test_a_token_does_what_its_scopes_say(
    scene: Scene, subtests: pytest.Subtests, scopes: list[str], reads: bool, writes: bool
) -> None:
    await scene.good("alice", "POST", "ghosts", ghost("own"))
    body = {"name": "t", "scopes": scopes}
    made = await scene.http.post("/api/v1/auth/tokens", json=body, headers=scene.headers("alice"))
    assert made.status_code == 201, made.text
    headers = bearer(made.json()["token"])
    for allowed, routes in ((reads, READS), (writes, WRITES)):
        for route in routes:
            with subtests.test(route):
                answer = await _with_token(scene, route, headers)
                assert (answer.status_code == 403) is not allowed, answer.text
                if not allowed:
                    assert answer.json()["code"] == "insufficient_scope"


async def _with_token(scene: Scene, route: str, headers: dict[str, str]) -> httpx.Response:
    query = {"namespace": ALPHA}
    if " /" not in route and not route.startswith("GET"):
        more = {"DRY RUN": {"dryRun": "true"}, "PRUNE": {"prune": "true", "labelSelector": "no=no"}}
        return await scene.http.post(
            "/api/v1/apply",
            content=json.dumps(ghost("applied")),
            params=query | more.get(route, {}),
            headers=headers | {"Content-Type": "application/json"},
        )
    method, _, path = route.partition(" ")
    body = {"POST": ghost("new"), "PUT": ghost("own"), "PATCH": {}}.get(method)
    bare = path.count("/") > 2
    return await scene.http.request(
        method, f"{KINDS}{path}", json=None if bare else body, params=query, headers=headers
    )


# -- delegations -------------------------------------------------------------------------------------------

DELEGATED = ("catalog.create", "catalog.apply", "catalog.resolve", "catalog.get", "catalog.list")


async def _ask(bus: Bus, ask: Ask[Any], grant: str) -> Any:
    return (await bus.ask(ask, Sending(uuid7(), "digest", grant=grant))).value()


async def test_a_delegation_reaches_its_project_alone(scene: Scene, subtests: pytest.Subtests) -> None:
    """Whatever else its person may read, and whatever they have at home."""
    await scene.good("writer", "POST", "bots", bot())
    async with scene.installation.bus() as gateway, scene.installation.bus("tasks") as tasks:
        proof = await scene.grant(gateway, "writer", audience="tasks")
        wanted = auth.Delegate(
            service="tasks", proof=SecretStr(proof), run="run", verbs=DELEGATED, role_needed="developer"
        )
        delegation = (await tasks.ask(wanted, Sending(uuid7(), "digest"))).value().delegation
        question = auth.DelegatedGrant(delegation=SecretStr(delegation), audience="catalog")
        grant = (await tasks.query(question)).value().grant

        with subtests.test("its own project"):
            made = await _ask(gateway, _create("ghosts", ghost("delegated")), grant)
            assert made.metadata.namespace == ALPHA
        with subtests.test("a reference elsewhere"), pytest.raises(SignalboxError) as error:
            await _ask(gateway, _create("bots", bot("other")), grant)
        assert [flaw.code for flaw in error.value.errors] == ["reference_not_found"]
        for namespace in (BETA, "default", "writer", "gamma"):
            with subtests.test("apply elsewhere", namespace=namespace):
                apply = contract.Apply(text=SecretStr(json.dumps(ghost("x", namespace))), namespace=ALPHA)
                with pytest.raises(SignalboxError) as error:
                    await _ask(gateway, apply, grant)
                assert error.value.code == "project_not_found"
            with subtests.test("create elsewhere", namespace=namespace):
                with pytest.raises(SignalboxError) as error:
                    await _ask(gateway, _create("ghosts", ghost("x", namespace)), grant)
                assert error.value.errors[0].code == "wrong_namespace"
        with subtests.test("what lies behind a reference"):
            tree = (await gateway.query(_resolve("bots", "bot"), grant=grant)).value()
            assert isinstance(tree.root.references["ghostRef"], contract.Unreadable)
        with subtests.test("another verb"), pytest.raises(SignalboxError) as error:
            await gateway.send(_delete("ghosts", "delegated"), Sending(uuid7(), "digest", grant=grant))
        assert error.value.code == "not_delegated"
        with subtests.test("reading what is not in it"), pytest.raises(SignalboxError) as error:
            await gateway.query(contract.ListChanges(plural="ghosts", after="0"), grant=grant)
        assert error.value.code == "not_delegated"
        async with scene.installation.bus("catalog") as catalog:
            reached = await _reached(catalog, grant)
        assert reached == {ALPHA: ALPHA}


def _create(plural: str, manifest: dict[str, Any]) -> Any:
    return contract.CreateResource(plural=plural, manifest=manifest)


def _resolve(plural: str, name: str) -> contract.ResolveResource:
    return contract.ResolveResource(plural=plural, name=name)


def _delete(plural: str, name: str) -> contract.DeleteResource:
    return contract.DeleteResource(plural=plural, name=name)


async def _reached(
    bus: Bus, proof: str, service: str = "catalog", names: tuple[str, ...] = (ALPHA, BETA, "default", "bob")
) -> dict[str, str]:
    """What auth says is open with that proof: how it was asked for, and how it is called."""
    question = auth.Reach(service=service, proof=SecretStr(proof), namespaces=names)
    return {item.namespace: item.slug for item in (await bus.query(question)).value().items}


# -- straight on the bus -----------------------------------------------------------------------------------


async def test_reach_believes_only_a_grant_for_the_very_service(
    scene: Scene, subtests: pytest.Subtests
) -> None:
    signer = Signer()
    await signer.publish(scene.installation)
    writer = scene.people["writer"]
    of_catalog = {"aud": "catalog", "ver": 99}
    async with scene.installation.bus() as gateway, scene.installation.bus("catalog") as catalog:
        good = await scene.grant(gateway, "writer")
        assert await _reached(catalog, good) == {ALPHA: ALPHA, BETA: BETA, "default": "writer"}
        person = await scene.grant(gateway, "writer", None)
        assert await _reached(catalog, person) == {ALPHA: ALPHA, BETA: BETA, "default": "writer"}
        assert await _reached(catalog, signer.grant(writer, of_catalog)), "the test signs soundly"
        for what, proof, service in (
            ("a grant for auth", await scene.grant(gateway, "writer", audience="auth"), "catalog"),
            ("a grant for tasks", await scene.grant(gateway, "writer", audience="tasks"), "catalog"),
            ("a grant for the catalog, as tasks", good, "tasks"),
            ("a grant for the catalog, as auth", good, "auth"),
            ("as a service that there is not", good, "gateway"),
            ("an access token", writer.access_token, "catalog"),
            ("nothing", "", "catalog"),
            ("expired", signer.grant(writer, of_catalog | {"exp": 1_000_000_000}), "catalog"),
            ("from tomorrow", signer.grant(writer, of_catalog | {"iat": 4_000_000_000}), "catalog"),
            ("of two services", signer.grant(writer, of_catalog | {"aud": ["auth", "catalog"]}), "catalog"),
            ("with another key", Signer("kother").grant(writer, of_catalog), "catalog"),
            ("of an older version of the user", signer.grant(writer, of_catalog | {"ver": 1}), "catalog"),
        ):
            with subtests.test(what), pytest.raises(SignalboxError) as error:
                await _reached(catalog, proof, service)
            assert error.value.status in (401, 403, 422, 503), what
        done = await scene.http.post("/api/v1/auth/logout", headers=writer.headers)
        assert done.status_code == 204

        async def refused() -> bool:
            try:
                await _reached(catalog, good)
            except SignalboxError as error:
                return error.status == 401
            return False

        await promptly(refused)


async def test_reach_answers_for_the_bearer_and_nobody_else(scene: Scene) -> None:
    """Names that are not open are left out, whether they are there or not."""
    async with scene.installation.bus() as gateway, scene.installation.bus("catalog") as catalog:
        grant = await scene.grant(gateway, "developer")
        names = (BETA, "gamma", "bob", "alice", "writer", ALPHA, "%", "_", "default", "' or 1=1 --")
        assert await _reached(catalog, grant, names=names) == {ALPHA: ALPHA, "default": "developer"}


async def test_only_the_catalog_and_the_gateway_may_ask_for_reach(scene: Scene) -> None:
    for service in ("tasks", "sandbox", "git"):
        complaints: list[str] = []

        async def heard(error: Exception, to: list[str] = complaints) -> None:
            to.append(str(error).lower())

        async with scene.installation.nats(service, error_cb=heard) as client:
            for subject in (auth.Reach.subject, contract.GetResource.subject, contract.Apply.subject):
                await client.publish(subject, b"{}")
            await client.flush()
            await client.flush()
        assert len(complaints) == 3, complaints


async def test_a_grant_opens_the_project_that_it_names(scene: Scene, subtests: pytest.Subtests) -> None:
    """Past the gateway, too: what a document says of its namespace moves nothing there."""
    signer = Signer()
    await signer.publish(scene.installation)
    await scene.good("alice", "POST", "ghosts", ghost("own"))
    async with scene.installation.bus() as gateway:
        grant = await scene.grant(gateway, "writer")
        for namespace in (BETA, "default", "writer", "gamma", scene.projects[BETA]):
            for ask in (
                _create("ghosts", ghost("smuggled", namespace)),
                contract.ReplaceResource(plural="ghosts", name="own", manifest=ghost("own", namespace)),
                contract.PatchResource(
                    plural="ghosts",
                    name="own",
                    patch={"metadata": {"namespace": namespace}},
                ),
            ):
                with subtests.test(type(ask).__name__, namespace=namespace):
                    with pytest.raises(SignalboxError) as error:
                        await _ask(gateway, ask, grant)
                    assert error.value.errors[0].code == "wrong_namespace"
        with subtests.test("what is in beta only"), pytest.raises(SignalboxError) as error:
            await gateway.query(contract.GetResource(plural="ghosts", name="spirit"), grant=grant)
        assert error.value.code == "resource_not_found"
        with subtests.test("deleted past its own project"), pytest.raises(SignalboxError) as error:
            await gateway.send(_delete("ghosts", "spirit"), Sending(uuid7(), "digest", grant=grant))
        assert error.value.code == "resource_not_found"
        person = await scene.grant(gateway, "writer", None)
        reads: tuple[Query[Any], ...] = (
            contract.GetResource(plural="ghosts", name="own"),
            contract.ListResources(plural="ghosts"),
        )
        for request in reads:
            with subtests.test("a grant for no project"), pytest.raises(SignalboxError) as error:
                await gateway.query(request, grant=person)
            assert error.value.status == 403
        viewer = await scene.grant(gateway, "writer", BETA)
        with subtests.test("a viewer's grant"), pytest.raises(SignalboxError) as error:
            await _ask(gateway, _create("ghosts", ghost("new")), viewer)
        assert error.value.code == "role_too_low"
        claims = grant_claims(scene.people["writer"]) | {"aud": "catalog", "ver": 99}
        forged = {
            "for auth": await scene.grant(gateway, "writer", audience="auth"),
            "expired": signer.grant(scene.people["writer"], claims | {"exp": 1_000_000_000}),
            "another key": Signer("kother").grant(scene.people["writer"], claims),
            "an access token": scene.people["writer"].access_token,
            "nothing": "",
        }
        for what, wrong in forged.items():
            with subtests.test(what), pytest.raises(SignalboxError) as error:
                await _ask(gateway, _create("ghosts", ghost("new")), wrong)
            assert error.value.status in (401, 403, 503)
    names = [item["metadata"]["name"] for item in (await scene.good("alice", "GET", "ghosts"))["items"]]
    assert names == ["own"]


# -- what is not one's own to say --------------------------------------------------------------------------

WISHES: dict[str, Any] = {
    "uid": "00000000-0000-7000-8000-000000000000",
    "createdBy": "00000000-0000-7000-8000-000000000000",
    "created_by": "00000000-0000-7000-8000-000000000000",
    "createdAt": LONG_AGO,
    "creationTimestamp": LONG_AGO,
    "updatedAt": LONG_AGO,
    "deletedAt": LONG_AGO,
    "deletionTimestamp": LONG_AGO,
    "generation": 99,
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
        return wished | WISHES | {"status": status}

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


# -- what is written down ----------------------------------------------------------------------------------


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
