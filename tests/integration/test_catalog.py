"""Resources through the gateway: what users' scripts do, and what Kubernetes users expect."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from signalbox_catalog.domain import kinds
from signalbox_common.testing import running
from tests.support.catalog import KINDS, catalog_of
from tests.support.installation import Installation

GHOST = {
    "metadata": {"name": "code-assistant", "namespace": "default"},
    "spec": {"systemPrompt": "You are a code assistant.", "description": "Helps."},
}
MODEL: dict[str, Any] = {
    "metadata": {"name": "gpt-4", "namespace": "default"},
    "spec": {"provider": "openai", "model": "gpt-4", "temperature": 0.7, "maxTokens": 2000},
}
SHELL: dict[str, Any] = {
    "metadata": {"name": "chat-shell", "namespace": "default"},
    "spec": {"type": "Chat", "description": "Talks."},
}
BOT = {
    "metadata": {"name": "my-coding-bot", "namespace": "default"},
    "spec": {
        "ghostRef": {"name": "code-assistant", "namespace": "default"},
        "modelRef": {"name": "gpt-4", "namespace": "default"},
        "shellRef": {"name": "chat-shell", "namespace": "default"},
        "description": "Codes.",
    },
}


async def test_the_calls_that_scripts_make(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        http, headers = catalog.http, catalog.headers
        missing = await http.post(f"{KINDS}/bots", json=BOT, headers=headers)
        assert missing.status_code == 422
        assert {error["field"] for error in missing.json()["errors"]} == {
            "spec.ghostRef",
            "spec.modelRef",
            "spec.shellRef",
        }
        assert "code-assistant" in missing.text
        made: dict[str, Any] = {}
        for plural, body in (("ghosts", GHOST), ("models", MODEL), ("shells", SHELL), ("bots", BOT)):
            answer = await http.post(f"{KINDS}/{plural}", json=body, headers=headers)
            assert answer.status_code == 201, answer.text
            made[plural] = answer.json()
            assert made[plural]["apiVersion"] == "signalbox.dev/v1"
            assert made[plural]["metadata"]["namespace"] == catalog.namespace
        assert made["models"]["spec"] == {
            "modelConfig": {
                "env": {"model": "openai", "model_id": "gpt-4"},
                "temperature": 0.7,
                "maxTokens": 2000,
            },
            **MODEL["spec"],  # what was sent, beside what it stands for
        }
        assert made["shells"]["spec"] == {"shellType": "Chat", **SHELL["spec"]}
        again = await http.post(f"{KINDS}/bots", json=BOT, headers=headers)
        assert (again.status_code, again.json()["code"]) == (409, "already_exists")
        page = await catalog.get("bots", namespace="default")
        assert [item["metadata"]["name"] for item in page["items"]] == ["my-coding-bot"]
        assert await catalog.get("bots/my-coding-bot") == made["bots"] == page["items"][0]
        where = f"{KINDS}/bots/my-coding-bot"
        assert (await http.delete(where, headers=headers)).status_code == 204
        assert (await http.get(where, headers=headers)).json()["code"] == "resource_not_found"


async def test_the_examples_are_good(installation: Installation) -> None:
    """And the schemas say so, too."""
    async with catalog_of(installation) as catalog:
        for path in sorted(Path("docs/examples").glob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            answer = await catalog.apply(text)
            assert answer.status_code == 200, f"{path}: {answer.text}"
            assert {item["action"] for item in answer.json()["items"]} == {"created"}
            again = await catalog.apply(text)
            assert {item["action"] for item in again.json()["items"]} == {"unchanged"}
        team = await catalog.get("teams/review/resolved")
        writer = team["references"]["members.0.botRef"]
        assert (
            writer["references"]["ghostRef"]["references"]["skills.0"]["metadata"]["name"] == "small-commits"
        )
        for kind in kinds.all_kinds():
            schema = await catalog.get(f"{kind.plural}/schema")
            jsonschema.Draft202012Validator.check_schema(schema)
            for resource in (await catalog.get(kind.plural))["items"]:
                jsonschema.validate(resource, schema)


async def test_a_resource_goes_through_its_life(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        http, headers = catalog.http, catalog.headers
        where = f"{KINDS}/ghosts/one"
        made = await catalog.create("ghosts", "one", labels={"team": "a"}, displayName="One")
        assert made["metadata"]["generation"] == 1
        replaced = await http.put(where, json={"spec": {"systemPrompt": "new"}}, headers=headers)
        assert replaced.status_code == 200, replaced.text
        assert replaced.json()["metadata"] | {"updatedAt": ""} == made["metadata"] | {
            "updatedAt": "",
            "displayName": None,
            "labels": {},
            "generation": 2,
            "resourceVersion": "2",
        }
        assert replaced.headers["etag"] == '"2"'
        same = await http.put(where, json={"spec": {"systemPrompt": "new"}}, headers=headers)
        assert same.json() == replaced.json(), "what changes nothing leaves no trace"
        labelled = await http.patch(where, json={"metadata": {"labels": {"x": "y"}}}, headers=headers)
        assert labelled.json()["metadata"]["generation"] == 2
        assert labelled.json()["metadata"]["resourceVersion"] == "3"
        for stale in ({"If-Match": '"2"'}, {}):
            body = {"spec": {"systemPrompt": "late"}, "metadata": {"resourceVersion": "2"}}
            refused = await http.put(where, json=body, headers=headers | stale)
            assert (refused.status_code, refused.json()["code"]) == (409, "version_conflict")
        back = await http.post(f"{where}/history/1/rollback", headers=headers)
        assert back.json()["spec"] == made["spec"]
        assert back.json()["metadata"]["generation"] == 3
        history = await catalog.get("ghosts/one/history")
        assert [entry["generation"] for entry in history["items"]] == [3, 2, 1]
        detail = await catalog.get("ghosts/one/history/2")
        assert detail["diff"] == [
            {"op": "replace", "path": "/spec/systemPrompt", "old": "You write code.", "new": "new"}
        ]
        assert (await http.delete(where, headers=headers)).status_code == 204
        assert [
            item["metadata"]["name"] for item in (await catalog.get("ghosts", deleted=True))["items"]
        ] == ["one"]
        await catalog.create("ghosts", "one")
        newer = await http.post(f"{where}/restore", headers=headers)
        assert (newer.status_code, newer.json()["code"]) == (409, "already_exists")
        assert (await http.delete(where, headers=headers)).status_code == 204
        assert (await http.post(f"{where}/restore", headers=headers)).json()["spec"] == made["spec"]


async def test_what_is_referred_to_stays(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        http, headers = catalog.http, catalog.headers
        await catalog.bot("bot", ghost="ghost")
        await catalog.create("teams", "team", {"bots": ["bot"]})
        refused = await http.delete(f"{KINDS}/ghosts/ghost", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (409, "still_referenced")
        assert [error["field"] for error in refused.json()["errors"]] == [f"Bot/{catalog.namespace}/bot"]
        gone = await http.delete(f"{KINDS}/ghosts/ghost", params={"cascade": True}, headers=headers)
        assert gone.status_code == 204
        for path in ("ghosts/ghost", "bots/bot", "teams/team"):
            assert (await catalog.get(path, 404))["code"] == "resource_not_found"
        assert (await catalog.get("shells/bot-shell"))["metadata"]["name"] == "bot-shell"
        early = await http.post(f"{KINDS}/bots/bot/restore", headers=headers)
        assert (early.status_code, early.json()["errors"][0]["code"]) == (422, "reference_not_found")
        for path in ("ghosts/ghost", "bots/bot", "teams/team"):
            assert (await http.post(f"{KINDS}/{path}/restore", headers=headers)).status_code == 200
        tree = await catalog.get("teams/team/resolved")
        assert tree["references"]["members.0.botRef"]["references"]["ghostRef"]["metadata"]["name"] == "ghost"


@pytest.mark.fresh
async def test_a_tree_is_what_it_is_now(installation: Installation) -> None:
    """Whatever was kept of it, in this process or in another one."""
    other = installation.catalog()
    async with catalog_of(installation) as catalog, running(other):
        http, headers = catalog.http, catalog.headers
        await catalog.bot("bot", ghost="ghost")
        await catalog.create("teams", "team", {"bots": ["bot"]})
        await catalog.create("ghosts", "second")
        where = f"{KINDS}/teams/team/resolved"
        seen = await http.get(where, headers=headers)
        unchanged = await http.get(where, headers=headers | {"If-None-Match": seen.headers["etag"]})
        assert unchanged.status_code == 304
        for number in range(10):
            prompt = f"number {number}"
            patch = {"spec": {"systemPrompt": prompt}}
            assert (await http.patch(f"{KINDS}/ghosts/ghost", json=patch, headers=headers)).status_code == 200
            for _ in range(3):
                tree = (await http.get(where, headers=headers)).json()
                bot = tree["references"]["members.0.botRef"]
                assert bot["references"]["ghostRef"]["spec"]["systemPrompt"] == prompt
        refers = {"spec": {"ghostRef": {"name": "second"}}}
        assert (await http.patch(f"{KINDS}/bots/bot", json=refers, headers=headers)).status_code == 200
        tree = (await http.get(where, headers=headers)).json()
        assert (
            tree["references"]["members.0.botRef"]["references"]["ghostRef"]["metadata"]["name"] == "second"
        )


WRONG: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("ghosts", {}, "spec.systemPrompt"),
    ("ghosts", {"systemPrompt": 7}, "spec.systemPrompt"),
    ("ghosts", {"systemPrompt": "x", "mcpServers": {"gh": {"args": "no list"}}}, "spec.mcpServers.gh.args"),
    ("models", {}, "spec.modelConfig"),
    ("models", {"modelConfig": {"temperature": "hot"}}, "spec.modelConfig.temperature"),
    ("shells", {"shellType": ""}, "spec.shellType"),
    ("bots", {"shellRef": "s"}, "spec.ghostRef"),
    ("teams", {"members": [{}], "collaborationModel": "solo"}, "spec.members.0.botRef"),
    ("teams", {"members": [], "collaborationModel": "quarrel"}, "spec.collaborationModel"),
    ("skills", {"description": ["x"]}, "spec.description"),
)


async def test_a_wrong_spec_is_refused_with_its_field(
    installation: Installation, subtests: pytest.Subtests
) -> None:
    async with catalog_of(installation) as catalog:
        for plural, spec, field in WRONG:
            with subtests.test(plural, field=field):
                body = {"metadata": {"name": "x"}, "spec": spec}
                answer = await catalog.http.post(f"{KINDS}/{plural}", json=body, headers=catalog.headers)
                assert answer.status_code == 422, answer.text
                assert [error["field"] for error in answer.json()["errors"]] == [field]
                documents = yaml.safe_dump({"apiVersion": "signalbox.dev/v1", "kind": _kind(plural)} | body)
                applied = await catalog.apply(documents)
                errors = applied.json()["errors"]
                assert (applied.status_code, [error["field"] for error in errors]) == (422, [field])
                assert errors[0]["document"] == 1
                assert errors[0]["line"] >= 1


def _kind(plural: str) -> str:
    kind = kinds.by_plural(plural)
    assert kind is not None
    return kind.name
