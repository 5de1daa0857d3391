"""Who may read a project refers to what is in it, and keeps nothing of it there."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from signalbox_common.testing import eventually
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
from tests.support.installation import Installation

pytestmark = pytest.mark.fresh  # its people and projects have the same names in each test

TREE = "bots/bot/resolved"
BROKEN = {"kind": "Ghost", "namespace": BETA, "name": "spirit", "broken": True}
HIDDEN = {"kind": "Ghost", "namespace": BETA, "name": "spirit", "unreadable": True}


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with two_projects(installation) as scene:
        yield scene


async def _below(scene: Scene, who: str = "writer") -> Any:
    """What its ghost is, to somebody of alpha who looks at the bot."""
    return (await scene.good(who, "GET", TREE))["references"]["ghostRef"]


@pytest.mark.parametrize("way", ["delete", "cascade", "cascade from below", "prune"])
async def test_a_viewer_keeps_nothing_of_what_is_anothers(scene: Scene, way: str) -> None:
    """However its owner deletes it; what was written stays, and says what is missing."""
    await scene.good("writer", "POST", "bots", bot())
    match way:
        case "delete":
            gone = await scene.ask("bob", "DELETE", "ghosts/spirit", namespace=BETA)
        case "cascade":
            gone = await scene.ask("bob", "DELETE", "ghosts/spirit", namespace=BETA, cascade="true")
        case "cascade from below":
            gone = await scene.ask("bob", "DELETE", "skills/craft-of-beta", namespace=BETA, cascade="true")
        case _:
            query: dict[str, Any] = {"namespace": BETA, "prune": "true", "labelSelector": "of"}
            tried = await scene.apply("bob", [ghost("other", BETA)], dryRun="true", **query)
            gone = await scene.apply("bob", [ghost("other", BETA)], **query)
            assert tried.status_code == 200
            assert [item["action"] for item in gone.json()["items"]] == ["created", "deleted"]
    assert gone.status_code in (200, 204), gone.text
    there = await scene.good("writer", "GET", "bots/bot")
    assert (there["spec"]["ghostRef"], there["metadata"]["resourceVersion"]) == (SPIRIT, "2"), (
        "no change of it"
    )
    tree = await scene.good("writer", "GET", TREE)
    assert (tree["status"]["state"], tree["references"]["ghostRef"]) == ("BrokenReference", BROKEN)
    assert tree["references"]["shellRef"]["status"]["state"] == "Available"
    await scene.good("writer", "DELETE", "bots/bot")


async def test_a_refusal_names_ones_own_alone(scene: Scene, subtests: pytest.Subtests) -> None:
    """Who refers to it elsewhere is neither named nor counted, not even in the log."""
    await scene.good("writer", "POST", "bots", bot("secretive"))
    shell = {"metadata": {"name": "s"}, "spec": {"shellType": "Chat"}}
    await scene.good("bob", "POST", "shells", shell, namespace=BETA)
    own = bot("theirs", {"name": "spirit"})
    own["spec"]["shellRef"] = {"name": "s"}
    await scene.good("bob", "POST", "bots", own, namespace=BETA)
    of_alpha = ("secretive", ALPHA, scene.projects[ALPHA], scene.people["writer"].id)
    query: dict[str, Any] = {"namespace": BETA, "prune": "true", "labelSelector": "of"}
    refused = {
        "delete": await scene.ask("bob", "DELETE", "ghosts/spirit", namespace=BETA),
        "prune": await scene.apply("bob", [ghost("other", BETA)], **query),
        "dry prune": await scene.apply("bob", [ghost("other", BETA)], dryRun="true", **query),
    }
    for what, answer in refused.items():
        with subtests.test(what):
            assert (answer.status_code, answer.json()["code"]) == (409, "still_referenced")
            assert [error["field"] for error in answer.json()["errors"]] == [f"Bot/{BETA}/theirs"]
            assert "referred to by bot theirs. " in answer.json()["detail"]
            assert not [word for word in of_alpha if word in answer.text]
    with subtests.test("operation"):
        operation = refused["delete"].headers["X-Operation-ID"]
        report = await scene.http.get(f"/api/v1/operations/{operation}", headers=scene.headers("bob"))
        assert report.json()["status"] == "failed"
        assert not [word for word in of_alpha if word in report.text.replace(operation, "")]
    await scene.good("bob", "DELETE", "ghosts/spirit", namespace=BETA, cascade="true")
    with subtests.test("what went with it"):
        assert (await scene.ask("bob", "GET", "bots/theirs", namespace=BETA)).status_code == 404
        await scene.good("writer", "GET", "bots/secretive")
    with subtests.test("audit log"):
        written = json.dumps(await scene.log(BETA))
        assert "secretive" not in written
        assert scene.projects[ALPHA] not in written


async def test_what_is_restored_is_whole_again(scene: Scene) -> None:
    """The tag of the tree changes both times."""
    await scene.good("writer", "POST", "bots", bot())
    tags = [(await scene.ask("writer", "GET", TREE)).headers["etag"]]
    for method, path in (("DELETE", "ghosts/spirit"), ("POST", "ghosts/spirit/restore")):
        await scene.good("bob", method, path, namespace=BETA)
        answer = await scene.ask("writer", "GET", TREE, headers={"If-None-Match": tags[-1]})
        assert answer.status_code == 200
        tags.append(answer.headers["etag"])
    assert len(set(tags)) == 3
    assert (await _below(scene))["spec"]["systemPrompt"] == "Whisper of beta"
    assert answer.json()["status"]["state"] == "Available"


async def test_a_name_that_is_taken_over_takes_no_references(scene: Scene) -> None:
    """Until somebody who refers to it writes it again, who may read what it is by then."""
    await scene.good("writer", "POST", "bots", bot())
    await scene.good("bob", "DELETE", "ghosts/spirit", namespace=BETA)
    same = await scene.apply("writer", [bot()])
    assert [item["action"] for item in same.json()["items"]] == ["unchanged"], "what it names is not there"
    labelled = await scene.ask("writer", "PATCH", "bots/bot", {"metadata": {"labels": {"a": "b"}}})
    assert (labelled.status_code, labelled.json()["errors"][0]["code"]) == (422, "reference_not_found")
    await scene.good("bob", "POST", "ghosts", ghost("spirit", systemPrompt="Another one"), namespace=BETA)
    assert await _below(scene) == BROKEN
    blind = await scene.apply("developer", [bot()])
    assert [item["action"] for item in blind.json()["items"]] == ["unchanged"], "who may not read it"
    assert await _below(scene) == BROKEN
    before = await scene.good("writer", "GET", "bots/bot")
    moved = bot("bot", None, resourceVersion="1")
    assert (await scene.ask("writer", "PUT", "bots/bot", moved)).status_code == 409
    again = await scene.apply("writer", [bot()])
    assert [item["action"] for item in again.json()["items"]] == ["updated"]
    assert (await _below(scene))["spec"]["systemPrompt"] == "Another one"
    after = await scene.good("writer", "GET", "bots/bot")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert int(after["metadata"]["resourceVersion"]) == int(before["metadata"]["resourceVersion"]) + 1
    last = await scene.apply("writer", [bot()])
    assert [item["action"] for item in last.json()["items"]] == ["unchanged"]


async def test_who_may_not_read_it_learns_nothing_of_its_end(scene: Scene) -> None:
    """Not a byte: whether something of another project is there is nothing of theirs."""
    await scene.good("writer", "POST", "bots", bot())
    team = {"metadata": {"name": "team"}, "spec": {"bots": ["bot"]}}
    await scene.good("writer", "POST", "teams", team)

    async def told() -> dict[str, Seen]:
        paths = ("bots", "bots/bot", TREE, "bots/bot/history", "teams/team/resolved")
        return {path: seen(await scene.ask("reader", "GET", path, headers=IDS)) for path in paths}

    before = await told()
    assert await _below(scene, "reader") == HIDDEN
    await scene.good("bob", "DELETE", "ghosts/spirit", namespace=BETA)
    assert await told() == before
    assert await _below(scene) == BROKEN
    await scene.good("bob", "POST", "ghosts", ghost("spirit"), namespace=BETA)
    assert await told() == before
    answer = await scene.ask("reader", "GET", "teams/team/resolved")
    assert not [word for word in OF_BETA if word in answer.text]


async def test_referring_and_deleting_at_once_ends_consistently(scene: Scene) -> None:
    """Whoever is faster: referred to and then broken, or refused since it is gone."""
    outcomes = set()
    for number in range(25):
        name = f"s{number}"
        await scene.good("bob", "POST", "ghosts", ghost(name), namespace=BETA)
        requests = [
            scene.ask("writer", "POST", "bots", bot(name, {"name": name, "namespace": BETA})),
            scene.ask("bob", "DELETE", f"ghosts/{name}", namespace=BETA),
        ]
        if number % 2:
            made, deleted = await asyncio.gather(*requests)
        else:
            deleted, made = await asyncio.gather(*reversed(requests))
        outcomes.add((made.status_code, deleted.status_code))
        tree = await scene.ask("writer", "GET", f"bots/{name}/resolved")
        if made.status_code == 201:
            assert tree.json()["references"]["ghostRef"] == BROKEN | {"name": name}
        else:
            assert tree.status_code == 404
    assert outcomes <= {(201, 204), (422, 204)}, outcomes


async def test_a_project_goes_whoever_refers_to_it(scene: Scene) -> None:
    """And its resources before that, whatever became of the project that refers to them."""
    headers = scene.headers("writer")
    delta = await scene.http.project(headers, "Delta")
    shell = {"metadata": {"name": "shell"}, "spec": {"shellType": "Chat"}}
    await scene.good("writer", "POST", "shells", shell, namespace="delta")
    await scene.good("writer", "POST", "bots", bot(), namespace="delta")
    await scene.good("writer", "POST", "bots", bot())
    assert (await scene.http.delete(f"/api/v1/projects/{delta}", headers=headers)).status_code == 204
    await scene.good("bob", "DELETE", "ghosts/spirit", namespace=BETA)
    back = await scene.http.post(f"/api/v1/projects/{delta}/restore", headers=headers)
    assert back.status_code == 200, back.text

    async def restored() -> bool:
        answer = await scene.ask("writer", "GET", TREE, namespace="delta")
        return answer.status_code == 200 and answer.json()["references"]["ghostRef"] == BROKEN

    await eventually(restored, within=3, what="what it refers to is as broken as elsewhere")
    beta = f"/api/v1/projects/{scene.projects[BETA]}"
    assert (await scene.http.delete(beta, headers=scene.headers("bob"))).status_code == 204

    async def hidden() -> bool:
        return bool(await _below(scene) == HIDDEN)

    await eventually(hidden, within=3, what="nobody may read what is in it")
