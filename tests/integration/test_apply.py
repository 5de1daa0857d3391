"""Many documents at once: all or nothing, dry runs, versions."""

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from tests.support.applying import GHOST, SHELL, a_team, actions, all_told, first_lines, places, state
from tests.support.catalog import KINDS, catalog_of
from tests.support.factories import THEIRS, applied, document, refused, text_of
from tests.support.installation import Installation
from tests.support.pace import pace

# -- all or nothing ---------------------------------------------------------------------------------------
UNKNOWN_KEY = {"modelConfig": {"env": {"api_key": "***"}}}
LATE = {"resourceVersion": "1"}
BAD_LAST: dict[str, tuple[dict[str, Any], int, str]] = {
    "no reference": (document("Bot", "z", {"ghostRef": "none", "shellRef": "shell"}), 422, "spec.ghostRef"),
    "wrong field": (document("Ghost", "z", {"systemPrompt": 1}), 422, "spec.systemPrompt"),
    "bad name": (document("Ghost", "Zed", GHOST), 422, "metadata.name"),
    "stale": (document("Ghost", "old", {"systemPrompt": "z"}, **LATE), 409, "metadata.resourceVersion"),
    "no such key": (document("Model", "z", UNKNOWN_KEY), 422, "spec.modelConfig.env.api_key"),
    "closed": (document("Ghost", "z", GHOST, namespace="nowhere"), 404, "metadata.namespace"),
    "twice": (document("Ghost", "ghost", GHOST), 422, "metadata.name"),
}


@pytest.mark.fresh
async def test_one_bad_document_and_nothing_is_applied(
    installation: Installation, subtests: pytest.Subtests
) -> None:
    async with catalog_of(installation) as catalog:
        await catalog.create("ghosts", "old", labels={"a": "b"})
        patch = {"spec": {"systemPrompt": "y"}}
        where = f"{KINDS}/ghosts/old"
        assert (await catalog.http.patch(where, json=patch, headers=catalog.headers)).status_code == 200
        await all_told(installation, 2)
        before = await state(installation)
        key = {"modelConfig": {"env": {"api_key": "sk-newAndNeverUsed"}}}
        good = [*a_team(), document("Model", "keyed", key), document("Ghost", "old", GHOST | {"new": 1})]
        good_without_old = good[:-1]
        for name, (bad, status, field) in BAD_LAST.items():
            with subtests.test(name):
                rest = good_without_old if name == "stale" else good
                text = text_of(*rest, bad)
                for dry_run in (False, True):
                    answer = await catalog.apply(text, dryRun=dry_run)
                    assert answer.status_code == status, answer.text
                    (error,) = answer.json()["errors"]
                    assert (error["document"], error["field"]) == (len(rest) + 1, field)
                    assert error["line"] >= first_lines(text)[-1]
                assert await state(installation) == before
        assert actions(await applied(catalog, text_of(*good))) == ["created"] * 7 + ["updated"]
        told = await all_told(installation, 2 + 8)
        assert [version for _, _, version in told] == [str(number) for number in range(1, 11)]


async def test_everything_that_is_wrong_is_said_at_once(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        text = text_of(
            document("Ghost", "a", {"systemPrompt": 1}),
            document("Ghost", "b", GHOST),
            document("Shell", "c", {}, labels={"not a key": "x"}),
            document("Team", "d", {"members": [{"botRef": "x", "contextPassing": "some"}]}),
        )
        lines = first_lines(text)
        errors = refused(await catalog.apply(text), 422, "validation_failed")
        assert [(error["document"], error["field"]) for error in errors] == [
            (1, "spec.systemPrompt"),
            (3, "metadata.labels"),
            (3, "spec.shellType"),
            (4, "spec.members.0.contextPassing"),
            (4, "spec.collaborationModel"),
        ]
        assert [error["line"] for error in errors if error["document"] == 1] == [lines[0] + 5]
        missing = text_of(*(document("Bot", f"b{n}", {"ghostRef": "x", "shellRef": "y"}) for n in range(3)))
        errors = refused(await catalog.apply(missing), 422, "validation_failed")
        assert Counter((error["document"], error["field"]) for error in errors) == Counter(
            (number, field) for number in (1, 2, 3) for field in ("spec.ghostRef", "spec.shellRef")
        )


@pytest.mark.fresh
async def test_the_same_document_twice(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        text = text_of(
            document("Ghost", "g", GHOST),
            document("Shell", "g", SHELL),
            document("Ghost", "g", GHOST, namespace=catalog.namespace),
            document("Ghost", "g", GHOST, namespace="default", api=THEIRS),
        )
        errors = refused(await catalog.apply(text), 422, "validation_failed")
        assert places(errors, text) == [(number, "metadata.name", "twice") for number in (3, 4)]
        assert all(error["message"] == "Document 1 (line 1) is about the same resource." for error in errors)
        assert await installation.count("catalog.resources") == 0


@pytest.mark.fresh
async def test_many_at_the_same_time_make_each_resource_once(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        text = text_of(
            *a_team(), document("Model", "keyed", {"modelConfig": {"env": {"api_key": "sk-a1b2c3"}}})
        )
        answers = await asyncio.gather(*(catalog.apply(text) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}, [answer.text for answer in answers]
        found = Counter(item["action"] for answer in answers for item in answer.json()["items"])
        assert found == {"created": 7, "unchanged": 49}
        assert len(await all_told(installation, 7)) == 7


# -- dry runs ---------------------------------------------------------------------------------------------


@pytest.mark.fresh
async def test_a_dry_run_says_what_would_change_and_changes_nothing(installation: Installation) -> None:
    old = {"modelConfig": {"env": {"model": "openai", "api_key": "sk-oldKey0001", "token": "same-token"}}}
    new = {"modelConfig": {"env": {"model": "claude", "api_key": "sk-newKey0002", "token": "same-token"}}}
    other = {"modelConfig": {"env": {"model": "openai", "api_key": "sk-newKey0002", "token": "same-token"}}}
    async with catalog_of(installation) as catalog:
        await catalog.create("models", "keyed", old, labels={"a": "b"})
        await catalog.create("models", "only-the-key", old)
        await catalog.create("ghosts", "same")
        await catalog.create("ghosts", "gone", labels={"set": "x"})
        await all_told(installation, 4)
        before = await state(installation)
        secrets = await installation.count("catalog.secrets")
        text = text_of(
            document("Ghost", "made", GHOST, labels={"set": "x"}),
            document("Ghost", "same", GHOST),
            document("Model", "keyed", new, labels={"a": "c"}),
            document("Model", "only-the-key", other),
            document("Task", "other", {}, api=THEIRS),
        )
        query: dict[str, Any] = {"dryRun": True, "prune": True, "labelSelector": "set=x"}
        answer = await catalog.apply(text, **query)
        assert answer.status_code == 200, answer.text
        assert answer.json()["dryRun"] is True
        made, same, keyed, only, skipped, gone = items = answer.json()["items"]
        assert actions(items) == ["created", "unchanged", "updated", "updated", "skipped", "deleted"]
        added = {change["path"]: change["new"] for change in made["diff"]}
        assert added.keys() == {"/metadata", "/spec"}
        assert (added["/metadata"]["labels"], added["/spec"]) == ({"set": "x"}, GHOST)
        assert same["diff"] is None
        assert skipped["diff"] is None
        mask = {"op": "replace", "path": "/spec/modelConfig/env/api_key", "old": "***", "new": "***"}
        assert keyed["diff"] == [
            {"op": "replace", "path": "/metadata/labels/a", "old": "b", "new": "c"},
            {"op": "replace", "path": "/spec/modelConfig/env/model", "old": "openai", "new": "claude"},
            mask,
            mask | {"path": "/spec/modelConfig/env/token"},
        ]
        assert only["diff"] == keyed["diff"][2:], "whether one is the same is not told"
        assert {change["op"] for change in gone["diff"]} == {"remove"}
        assert (gone["name"], gone["diff"][-1]["old"]) == ("gone", {"systemPrompt": "You write code."})
        for key in ("sk-oldKey0001", "sk-newKey0002", "same-token"):
            assert key not in answer.text
        assert await state(installation) == before
        assert await installation.count("catalog.secrets") == secrets
        items = await applied(catalog, text, **query | {"dryRun": False})
        assert actions(items) == ["created", "unchanged", "updated", "updated", "skipped", "deleted"]
        assert all(item["diff"] is None for item in items), "differences are for those who try"
        assert len(await all_told(installation, 4 + 4)) == 8


async def test_a_difference_that_is_too_long_is_left_out(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        for number in range(6):
            await catalog.create("ghosts", f"g{number}", {"systemPrompt": "y" * 250_000})
        text = text_of(*(document("Ghost", f"g{n}", {"systemPrompt": "x" * 150_000}) for n in range(6)))
        items = await applied(catalog, text, dryRun=True)
        shown = [item["diff"] is not None for item in items]
        assert shown == [True, True, False, False, False, False]
        assert all(("left out" in (item["warning"] or "")) is (item["diff"] is None) for item in items)


# -- versions ---------------------------------------------------------------------------------------------


async def test_versions_in_documents_guard_against_others(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        await applied(catalog, text_of(*(document("Ghost", f"g{n}", GHOST) for n in range(3))))
        newer = await applied(
            catalog, text_of(*(document("Ghost", f"g{n}", GHOST | {"x": 1}) for n in (0, 1)))
        )
        assert [item["resourceVersion"] for item in newer] == ["4", "5"]
        before = await state(installation)

        def late(name: str, version: Any, **more: Any) -> dict[str, Any]:
            return document("Ghost", name, GHOST | more, resourceVersion=version)

        text = text_of(late("g2", "3", y=2), late("g0", "1", y=2), late("g1", 2, y=2))
        errors = refused(await catalog.apply(text), 409, "conflict")
        assert places(errors, text) == [(n, "metadata.resourceVersion", "conflict") for n in (2, 3)]
        assert await state(installation) == before
        unchanged = text_of(late("g0", "1", x=1), late("g1", 2, x=1), late("g2", "3"))
        assert actions(await applied(catalog, unchanged)) == ["unchanged"] * 3
        right = text_of(late("g0", "4", z=1), late("g1", 5, z=1), late("g2", "3"))
        items = await applied(catalog, right)
        assert actions(items) == ["updated", "updated", "unchanged"]
        assert [item["generation"] for item in items] == [3, 3, 1]
        exported = await catalog.get("ghosts/g0")
        assert actions(await applied(catalog, text_of(exported))) == ["unchanged"], "what was read is applied"
        twice = [text_of(exported | {"spec": GHOST | {"by": who}}) for who in ("one", "two")]
        answers = await asyncio.gather(*(catalog.apply(each) for each in twice))
        assert sorted(answer.status_code for answer in answers) == [200, 409], "one of them was faster"


# -- large ones -------------------------------------------------------------------------------------------


async def test_a_team_with_a_hundred_members(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        members = [
            {"botRef": {"name": f"bot-{n}"}, "role": "leader" if n == 0 else "member"} for n in range(100)
        ]
        documents = [document("Team", "team", {"members": members, "collaborationModel": "coordinate"})]
        documents += [
            document("Bot", f"bot-{n}", {"ghostRef": f"ghost-{n}", "shellRef": "shell"}) for n in range(100)
        ]
        documents += [document("Ghost", f"ghost-{n}", GHOST) for n in range(100)]
        documents.append(document("Shell", "shell", SHELL))
        items = await applied(catalog, text_of(*documents))
        assert actions(items) == ["created"] * 202
        tree = await catalog.get("teams/team/resolved")
        assert len(tree["references"]) == 100
        for number in (0, 57, 99):
            bot = tree["references"][f"members.{number}.botRef"]
            assert bot["references"]["ghostRef"]["metadata"]["name"] == f"ghost-{number}"
        kept = await catalog.http.delete(f"{KINDS}/bots/bot-57", headers=catalog.headers)
        errors = refused(kept, 409, "still_referenced")
        assert [error["field"] for error in errors] == [f"Team/{catalog.namespace}/team"]
        members[57] = {"botRef": {"name": "nobody"}}
        errors = refused(await catalog.apply(text_of(documents[0])), 422, "validation_failed")
        assert [error["field"] for error in errors] == ["spec.members.57.botRef"]


@pytest.mark.fresh
async def test_five_hundred_documents_at_once(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        documents = [document("Shell", "shell", SHELL)]
        for number in range(125):
            env = {"model": "openai", "api_key": f"sk-number{number:04}"}
            refs = {"ghostRef": f"g{number}", "modelRef": f"m{number}", "shellRef": "shell"}
            documents += [
                document("Ghost", f"g{number}", GHOST, labels={"n": str(number)}),
                document("Model", f"m{number}", {"modelConfig": {"env": env}}),
                document("Bot", f"b{number}", refs),
                document("Team", f"t{number}", {"bots": [f"b{number}"]}),
            ]
        text = text_of(*documents[:500])
        control = await pace(lambda: applied(catalog, text_of(documents[0]), dryRun=True))
        seconds = {}
        for what, query, action in (
            ("tried", {"dryRun": True}, "created"),
            ("created", {}, "created"),
            ("unchanged", {}, "unchanged"),
        ):
            started = time.perf_counter()
            items = await applied(catalog, text, **query)
            seconds[what] = round(time.perf_counter() - started, 2)
            assert actions(items) == [action] * 500
        print(f"500 documents, {len(text) // 1024} KiB, in seconds: {seconds}")
        assert max(seconds.values()) < 500 * control, "more at once is cheaper than one by one"
        assert len(await all_told(installation, 500)) == 500
        assert len((await catalog.get("ghosts", limit=500))["items"]) == 125


async def test_a_repeat_under_the_same_idempotency_key_is_noticed(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        keyed = catalog.headers | {"Idempotency-Key": "once"}
        text = text_of(*a_team())
        assert (await catalog.apply(text, keyed)).status_code == 200
        refused(await catalog.apply(text, keyed), 409, "already_done")
        other = text_of(*a_team(displayName="x"))
        refused(await catalog.apply(other, keyed), 422, "idempotency_key_reused")
        assert (await catalog.get("teams/team"))["metadata"]["displayName"] is None
