"""Two projects whose resources refer to each other: what members of one learn of the other."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.security.scene import (
    ALPHA,
    BETA,
    EVERYTHING,
    IDS,
    KEY,
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


@pytest.fixture
async def scene(installation: Installation) -> AsyncIterator[Scene]:
    async with two_projects(installation) as scene:
        yield scene


# -- references into another namespace --------------------------------------------------------------------
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
