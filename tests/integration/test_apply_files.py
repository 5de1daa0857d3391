"""Files of others, notations and names."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.support.applying import GHOST, a_team, actions, first_lines, places, project
from tests.support.catalog import KINDS, catalog_of
from tests.support.factories import OURS, THEIRS, applied, document, refused, text_of
from tests.support.installation import Installation

FILE = """\
# A team of two, as it is exported there.
apiVersion: agent.wecode.io/v1
kind: Ghost
metadata: {name: dev-ghost, namespace: default, displayName: "开发者", labels: {team: dev}}
spec:
  systemPrompt: |
    You are a developer.
    Answer in 中文.
  mcpServers:
    gh: {command: docker, args: [run, -i, img], env: {HOST: github.com, GITHUB_TOKEN: ghp_inTheFile0001}}
    search: {type: streamable-http, url: "https://search.example/mcp", timeout: 30}
  skills: [lint, built-in]
  preload_skills: [lint]
  skill_refs:
    lint: {skill_id: 7, namespace: default, is_public: false}
    built-in: {skill_id: 1, is_public: true}
status: {state: Available, message: ok}
---
apiVersion: agent.wecode.io/v1
kind: Model
metadata: {name: m, namespace: default}
spec:
  modelConfig:
    env: {model: openai, model_id: m1, base_url: "https://api.example/v1", api_key: sk-inTheFile0002}
  protocol: openai
  apiFormat: responses
  modelType: llm
  isCustomConfig: false
  modelGroup: A
  costIndex: 1
  contextWindow: 200000
status: {state: Available}
---
apiVersion: agent.wecode.io/v1
kind: Shell
metadata: {name: ClaudeCode, namespace: default, labels: {type: local_engine}}
spec:
  shellType: ClaudeCode
  supportModel: []
  baseImage: "img:tag"
  baseShellRef: ClaudeCode
  requiresWorkspace: true
---
apiVersion: agent.wecode.io/v1
kind: Bot
metadata: {name: dev-bot, namespace: default}
spec:
  ghostRef: {name: dev-ghost, namespace: default}
  shellRef: {name: ClaudeCode}
  modelRef: {name: m}
  secondaryModelRef: {name: m}
---
apiVersion: agent.wecode.io/v1
kind: Team
metadata: {name: dev-team, namespace: default}
spec:
  members:
    - {name: Lead, botRef: {name: dev-bot}, role: leader, prompt: "", requireConfirmation: false,
       contextPassing: none}
    - {name: Second, botRef: {name: dev-bot, namespace: default}, role: member, contextPassing: previous_bot}
  collaborationModel: pipeline
  workflow: {mode: pipeline, steps: [{name: plan, timeout: 1.5}, {name: build, when: no}]}
  bind_mode: [code]
  description: x
  icon: x
---
apiVersion: agent.wecode.io/v1
kind: Skill
metadata: {name: lint, namespace: default}
spec:
  description: Checks style.
  prompt: "..."
  version: 1.5
  author: x
  tags: []
  bindShells: [ClaudeCode]
  mcpServers: {}
  tools: [{name: t, provider: p}]
  provider: {module: provider, class: P}
  source: {type: git, repo_url: "https://git.example/skills", skill_path: "lint"}
"""
FOREIGN_KINDS = ("Workspace", "Task", "Retriever", "KnowledgeBase", "Device", "Template", "Subscription")
OTHERS = "".join(
    f"---\napiVersion: {THEIRS}\nkind: {kind}\nmetadata: {{name: other}}\nspec: {{a: [1]}}\n"
    for kind in FOREIGN_KINDS
)
ELSEWHERE = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"


# -- files of others --------------------------------------------------------------------------------------


async def test_a_file_of_wegent_imports_unchanged(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        text = FILE + OTHERS + ELSEWHERE
        answer = await catalog.apply(text)
        assert answer.status_code == 200, answer.text
        items = answer.json()["items"]
        theirs = [*yaml.safe_load_all(FILE)]
        assert [(item["kind"], item["name"]) for item in items[:6]] == [
            (each["kind"], each["metadata"]["name"]) for each in theirs
        ]
        assert actions(items) == ["created"] * 6 + ["skipped"] * 8
        assert [item["document"] for item in items] == list(range(1, 15))
        assert [item["line"] for item in items] == first_lines(text)
        for item, (kind, version) in zip(
            items[6:], [*((kind, THEIRS) for kind in FOREIGN_KINDS), ("Deployment", "apps/v1")], strict=True
        ):
            assert item["kind"] == kind
            if kind == "Task":  # one that says nothing of what is to be done
                assert item["warning"].startswith("The task was not created: ")
            else:
                assert item["warning"] == f"{kind} of {version} is no kind of this catalog: it was skipped."
        assert "ghp_inTheFile0001" not in answer.text
        specs = {each["kind"]: each["spec"] for each in theirs}
        specs["Ghost"]["mcpServers"]["gh"]["env"]["GITHUB_TOKEN"] = "***"
        specs["Ghost"]["skill_refs"]["lint"]["namespace"] = catalog.namespace
        specs["Model"]["modelConfig"]["env"]["api_key"] = "***"
        specs["Model"]["costIndex"] = "1"
        specs["Bot"]["ghostRef"]["namespace"] = catalog.namespace
        specs["Team"]["members"][1]["botRef"]["namespace"] = catalog.namespace
        specs["Team"]["workflow"]["steps"][1]["when"] = "no"  # in YAML 1.2 it is a text
        specs["Skill"]["version"] = "1.5"
        for each in theirs:
            name, kind = each["metadata"]["name"], each["kind"]
            resource = await catalog.get(f"{kind.lower()}s/{name}")
            assert resource["apiVersion"] == OURS
            assert resource["spec"] == specs[kind]
            assert resource["metadata"]["labels"] == each["metadata"].get("labels", {})
            assert resource["metadata"]["namespace"] == catalog.namespace
            assert resource["status"] == {"state": "Available"}, "theirs is not taken over"
        assert (await catalog.get("ghosts/dev-ghost"))["metadata"]["displayName"] == "开发者"
        tree = await catalog.get("teams/dev-team/resolved")
        second = tree["references"]["members.1.botRef"]["references"]
        assert set(second) == {"ghostRef", "modelRef", "secondaryModelRef", "shellRef"}
        assert second["shellRef"]["metadata"]["name"] == "ClaudeCode"
        assert list(second["ghostRef"]["references"]) == ["skills.0"], (
            "public skills come with their platform"
        )
        assert actions(await applied(catalog, text)) == ["unchanged"] * 6 + ["skipped"] * 8
        mixed = FILE.replace(THEIRS, OURS) + ELSEWHERE
        assert actions(await applied(catalog, mixed)) == ["unchanged"] * 6 + ["skipped"]


async def test_kinds_that_nobody_knows(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        good = document("Ghost", "good", GHOST)
        ours = text_of(good, document("Ghosst", "a", {}), document("Task", "b", {}))
        errors = refused(await catalog.apply(ours), 422, "validation_failed")
        assert places(errors, ours) == [(2, "kind", "unknown_kind"), (3, "kind", "unknown_kind")]
        assert errors[0]["line"] == first_lines(ours)[1] + 1
        assert "'Ghosst'" in errors[0]["message"]
        assert "Bot, Ghost, Model, Shell, Skill, Team" in errors[0]["message"]
        await catalog.get("ghosts/good", 404)
        theirs = text_of(
            good, document("Ghosst", "a", {}, api=THEIRS), document("Ghost", "b", {}, api="x/v1")
        )
        items = await applied(catalog, theirs)
        assert actions(items) == ["created", "skipped", "skipped"]
        assert [item["warning"].split(" is ")[0] for item in items[1:]] == [
            f"Ghosst of {THEIRS}",
            "Ghost of x/v1",
        ]


async def test_a_short_form_is_changed_as_what_it_stands_for(installation: Installation) -> None:
    async def sent(method: str, path: str, spec: dict[str, Any], status: int = 200) -> Any:
        answer = await catalog.http.request(
            method, f"{KINDS}/{path}", json={"spec": spec}, headers=catalog.headers
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    async with catalog_of(installation) as catalog:
        given = {"provider": "openai", "model": "gpt-4", "temperature": 0.7, "apiKey": "the-key-0001"}
        made = (await catalog.create("models", "m", given))["spec"]
        env = {"model": "openai", "model_id": "gpt-4", "api_key": "***"}
        assert made == given | {"apiKey": "***", "modelConfig": {"temperature": 0.7, "env": env}}
        spec = (await sent("PATCH", "models/m", {"temperature": 0.1}))["spec"]
        assert (spec["temperature"], spec["modelConfig"]["temperature"]) == (0.1, 0.1)
        spec = (await sent("PATCH", "models/m", {"modelConfig": {"temperature": 0.2}}))["spec"]
        assert (spec["temperature"], spec["modelConfig"]["temperature"]) == (0.2, 0.2)
        problem = await sent("PUT", "models/m", spec | {"temperature": 0.3}, 422)
        assert [(each["field"], each["code"]) for each in problem["errors"]] == [
            ("spec.temperature", "said_twice")
        ]
        spec = (await sent("PATCH", "models/m", {"temperature": None}))["spec"]
        assert "temperature" not in spec
        assert "temperature" not in spec["modelConfig"]
        await catalog.create("shells", "s", {"type": "Chat"})
        spec = (await sent("PATCH", "shells/s", {"type": "Exec"}))["spec"]
        assert spec == {"type": "Exec", "shellType": "Exec"}
        spec = (await sent("PATCH", "shells/s", {"shellType": "Chat"}))["spec"]
        assert spec == {"type": "Chat", "shellType": "Chat"}


async def test_what_was_sent_as_default_is_read_back_and_sent_again(installation: Installation) -> None:
    """By the routes of a kind and by apply, with the namespace in the address and without."""
    async with catalog_of(installation) as catalog:
        where: dict[str, Any] = {"namespace": "default"}
        await catalog.create("ghosts", "g", **where)
        await catalog.create("shells", "s", {"type": "Chat"}, **where)
        refs = {"ghostRef": {"name": "g"} | where, "shellRef": {"name": "s"} | where}
        made = await catalog.create("bots", "b", refs, **where)
        team = await catalog.create("teams", "t", {"bots": [{"name": "b"} | where, "b"]}, **where)
        for plural, resource in (("bots", made), ("teams", team)):
            name = resource["metadata"]["name"]
            for query in ({}, where, {"namespace": catalog.namespace}):
                answer = await catalog.http.get(
                    f"{KINDS}/{plural}/{name}", params=query, headers=catalog.headers
                )
                read = answer.json()
                assert read == resource
                for body in (read, read | {"metadata": read["metadata"] | where}):
                    answer = await catalog.http.put(
                        f"{KINDS}/{plural}/{name}", json=body, params=query, headers=catalog.headers
                    )
                    assert answer.json() == resource, answer.text
                    assert actions(await applied(catalog, text_of(body), **query)) == ["unchanged"]
            copy = {"metadata": resource["metadata"] | {"name": "copy"}, "spec": resource["spec"]}
            copy["metadata"] = {key: copy["metadata"][key] for key in ("name", "namespace")}
            answer = await catalog.http.post(f"{KINDS}/{plural}", json=copy, headers=catalog.headers)
            assert answer.status_code == 201, answer.text
            assert answer.json()["spec"] == resource["spec"]


async def test_short_forms_are_written_out(installation: Installation) -> None:
    model = {"provider": "openai", "model": "gpt-4", "temperature": 0.7, "maxTokens": 2000, "x": 1}
    bots = ["bot", {"name": "bot"}, {"botRef": "bot", "role": "leader", "name": "Lead"}]
    short: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        (
            "Model",
            model,
            {
                "x": 1,
                "modelConfig": {
                    "temperature": 0.7,
                    "maxTokens": 2000,
                    "env": {"model": "openai", "model_id": "gpt-4"},
                },
            },
        ),
        (
            "Model",
            {"temperature": 0.1, "modelConfig": {"env": {"model": "x"}, "top_p": 1}},
            {"modelConfig": {"env": {"model": "x"}, "top_p": 1, "temperature": 0.1}},
        ),
        ("Shell", {"type": "Chat", "description": "x"}, {"shellType": "Chat", "description": "x"}),
        ("Shell", {"runtime": "Agno"}, {"shellType": "Agno"}),
        ("Shell", {"shellType": "Exec", "type": "local"}, {"shellType": "Exec", "type": "local"}),
        (
            "Team",
            {"bots": bots},
            {
                "collaborationModel": "solo",
                "members": [
                    {"botRef": {"name": "bot"}},
                    {"botRef": {"name": "bot"}},
                    {"botRef": {"name": "bot"}, "role": "leader", "name": "Lead"},
                ],
            },
        ),
        (
            "Team",
            {"bots": ["bot"], "collaborationModel": "route"},
            {"collaborationModel": "route", "members": [{"botRef": {"name": "bot"}}]},
        ),
    ]
    async with catalog_of(installation) as catalog:
        await catalog.bot("bot")
        text = text_of(*(document(kind, f"n{n}", spec) for n, (kind, spec, _) in enumerate(short)))
        tried = await applied(catalog, text, dryRun=True)
        assert actions(await applied(catalog, text)) == ["created"] * len(short)
        for number, (kind, sent, whole) in enumerate(short):
            plural = f"{kind.lower()}s"
            both = whole | {name: value for name, value in sent.items() if name != "modelConfig"}
            if sent.get("bots") == bots:
                both["bots"] = ["bot", "bot", {"botRef": {"name": "bot"}, "role": "leader", "name": "Lead"}]
            added = {change["path"]: change["new"] for change in tried[number]["diff"]}
            assert added["/spec"] == both
            assert (await catalog.get(f"{plural}/n{number}"))["spec"] == both, "with what was sent beside it"
            alone = await catalog.create(plural, f"alone-{number}", sent)
            assert alone["spec"] == both, "as the route of its kind has it"
            sent_back = {"metadata": alone["metadata"], "spec": alone["spec"]}
            answer = await catalog.http.put(
                f"{KINDS}/{plural}/alone-{number}", json=sent_back, headers=catalog.headers
            )
            assert answer.json() == alone, "what is read back and sent again changes nothing"
        whole_text = text_of(*(document(kind, f"n{n}", whole) for n, (kind, _, whole) in enumerate(short)))
        assert actions(await applied(catalog, whole_text)) == ["unchanged"] * len(short)


async def test_numbers_where_texts_are_meant_become_texts(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        for number, (written, text) in enumerate((("1", "1"), ("1.5", "1.5"), ("2.0", "2.0"), ('"3"', "3"))):
            both = (
                f"apiVersion: {THEIRS}\nkind: Model\nmetadata: {{name: m{number}}}\n"
                f"spec: {{modelConfig: {{}}, costIndex: {written}}}\n---\n"
                f"apiVersion: {THEIRS}\nkind: Skill\nmetadata: {{name: s{number}}}\n"
                f"spec: {{description: x, version: {written}}}\n"
            )
            assert actions(await applied(catalog, both)) == ["created", "created"]
            assert (await catalog.get(f"models/m{number}"))["spec"]["costIndex"] == text
            assert (await catalog.get(f"skills/s{number}"))["spec"]["version"] == text
            assert actions(await applied(catalog, both)) == ["unchanged", "unchanged"]


async def test_what_is_sent_again_is_unchanged_whatever_its_numbers_are(installation: Installation) -> None:
    written = (
        "0",
        "-0.0",
        "1.0",
        "0.1",
        "1e3",
        "1e-7",
        "5e-324",
        "9223372036854775807",
        "1e16",
        "9e18",
    )
    async with catalog_of(installation) as catalog:
        text = "---\n".join(
            f"apiVersion: {OURS}\nkind: Ghost\nmetadata: {{name: n{number}}}\n"
            f"spec: {{systemPrompt: x, number: {value}}}\n"
            for number, value in enumerate(written)
        )
        await applied(catalog, text)
        again = await applied(catalog, text)
        differing = [
            value for value, item in zip(written, again, strict=True) if item["action"] != "unchanged"
        ]
        assert differing == []
        # These would come back from the database as other numbers.
        for value in ("1e23", "1e308", "-1e19"):
            head = f"apiVersion: {OURS}\nkind: Ghost\nmetadata: {{name: n}}\n"
            body = f"{head}spec: {{systemPrompt: x, at: {value}}}\n"
            errors = refused(await catalog.apply(body), 422, "validation_failed")
            assert [(error["field"], error["code"]) for error in errors] == [("spec.at", "bad_number")]


# -- notations and names ----------------------------------------------------------------------------------


def _list(*items: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": [*items]}


NOTATIONS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "yaml": lambda all_: text_of(*all_),
    "yaml-list": yaml.safe_dump,
    "yaml-with-dots": lambda all_: "...\n".join(f"---\n{yaml.safe_dump(each)}" for each in all_),
    "yaml-crlf": lambda all_: text_of(*all_).replace("\n", "\r\n"),
    "yaml-with-a-byte-order-mark": lambda all_: "\ufeff" + text_of(*all_),
    "json-between-dashes": lambda all_: "\n---\n".join(json.dumps(each, ensure_ascii=False) for each in all_),
    "json-array": json.dumps,
    "json-one-behind-the-other": lambda all_: "\n".join(json.dumps(each) for each in all_),
    "kind-list": lambda all_: json.dumps(_list(*all_)),
    "kind-list-in-yaml": lambda all_: yaml.safe_dump(_list(*all_)),
    "lists-in-lists": lambda all_: json.dumps([_list(all_[0], _list(*all_[1:]))]),
}


async def test_notations(installation: Installation, subtests: pytest.Subtests) -> None:
    async with catalog_of(installation) as catalog:
        for notation, written in NOTATIONS.items():
            with subtests.test(notation):
                _, slug = await project(catalog, notation)
                items = await applied(catalog, written(a_team(displayName="日本語 🚦")), namespace=slug)
                assert actions(items) == ["created"] * 6
                assert [item["document"] for item in items] == [1, 2, 3, 4, 5, 6]
                team = await catalog.get("teams/team", namespace=slug)
                assert team["metadata"]["displayName"] == "日本語 🚦"
                bad = a_team()
                bad[4]["spec"] = {}
                answer = await catalog.apply(written(bad), namespace=slug)
                errors = refused(answer, 422, "validation_failed")
                assert [(error["document"], error["field"]) for error in errors] == [(5, "spec.shellType")]


async def test_content_types(installation: Installation, subtests: pytest.Subtests) -> None:
    async with catalog_of(installation) as catalog:
        for taken in (
            "application/yaml",
            "application/x-yaml",
            "text/yaml; charset=utf-8",
            "TEXT/X-YAML",
            "text/plain",
            "application/json",
            "application/octet-stream",
            "application/x-www-form-urlencoded",
            None,
        ):
            with subtests.test(str(taken)):
                declared = {"content-type": taken} if taken else {}
                text = json.dumps(document("Ghost", "g", GHOST)).encode()
                answer = await catalog.http.post(
                    "/api/v1/apply", content=text, headers=catalog.headers | declared
                )
                assert answer.status_code == 200, answer.text
        for foreign in ("text/html", "multipart/form-data; boundary=x", "application/zip", "application/xml"):
            with subtests.test(foreign):
                answer = await catalog.http.post(
                    "/api/v1/apply", content=b"{}", headers=catalog.headers | {"content-type": foreign}
                )
                refused(answer, 415, "unsupported_media_type")


async def test_names(installation: Installation, subtests: pytest.Subtests) -> None:
    ours_refuse = ("Upper", "a_b", "a.b", "-a", "a-", "a b", "é", "a" * 64)
    theirs_keep = ("ClaudeCode", "My Ghost", "a_b", "a.b-C", "代码助手", "x" * 100)
    nobody = ("", " a", "a/b", "a\tb", "a" * 101, "../a", "schema")
    async with catalog_of(installation) as catalog:
        for name in ours_refuse:
            with subtests.test(name, of="ours"):
                errors = refused(
                    await catalog.apply(text_of(document("Ghost", name, GHOST))), 422, "validation_failed"
                )
                assert [(error["field"], error["code"]) for error in errors] == [
                    ("metadata.name", "bad_name")
                ]
                body = {"metadata": {"name": name}, "spec": GHOST}
                alone = await catalog.http.post(f"{KINDS}/ghosts", json=body, headers=catalog.headers)
                assert refused(alone, 422, "validation_failed")[0]["field"] == "metadata.name"
        for name in nobody:
            for api in (OURS, THEIRS):
                with subtests.test(name, of=api):
                    text = text_of(document("Ghost", name, GHOST, api=api))
                    errors = refused(await catalog.apply(text), 422, "validation_failed")
                    assert [error["field"] for error in errors] == ["metadata.name"]
        for name in ("a", "0", "a-b", "a" * 63):
            assert (await catalog.create("ghosts", name))["metadata"]["name"] == name
        for name in theirs_keep:
            with subtests.test(name, of="theirs"):
                text = text_of(document("Ghost", name, GHOST, api=THEIRS))
                assert actions(await applied(catalog, text)) == ["created"]
                assert (await catalog.get(f"ghosts/{name}"))["metadata"]["name"] == name
                changed = text_of(document("Ghost", name, {"systemPrompt": "new"}))
                assert actions(await applied(catalog, changed)) == ["updated"], "it keeps its name with us"


@pytest.mark.parametrize("name", ["My Ghost", "代码助手"], ids=["with-a-space", "in-chinese"])
async def test_names_of_others_on_the_route_of_a_kind(installation: Installation, name: str) -> None:
    async with catalog_of(installation) as catalog:
        body = document("Ghost", name, GHOST, api=THEIRS)
        made = await catalog.http.post(f"{KINDS}/ghosts", json=body, headers=catalog.headers)
        assert made.status_code == 201, made.text
        location = made.headers["location"]
        assert location.isascii()
        assert " " not in location, "it is an address"
        found = await catalog.http.get(location, headers=catalog.headers)
        assert found.json()["metadata"]["name"] == name
