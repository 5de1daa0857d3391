"""Many documents at once through `POST /api/v1/apply`: what users have in their files, all or nothing."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
import yaml

from signalbox_common.testing import eventually
from tests.support.catalog import KINDS, Catalog, catalog_of
from tests.support.installation import Installation
from tests.support.pace import pace

OURS, THEIRS = "signalbox.dev/v1", "agent.wecode.io/v1"
GHOST: dict[str, Any] = {"systemPrompt": "You write code."}
SHELL: dict[str, Any] = {"shellType": "Chat"}
MODEL: dict[str, Any] = {"modelConfig": {"env": {"model": "openai", "model_id": "m1"}}}

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

STATE = (
    "select * from catalog.resources order by uid",
    "select * from catalog.labels order by uid, key",
    "select * from catalog.refs order by from_uid, field",
    "select * from catalog.revisions order by project_id, version",
    "select * from catalog.namespaces order by project_id",
)
"""All that a resource is, was and refers to."""


def document(kind: str, name: str, spec: Any, *, api: str = OURS, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name} | metadata, "spec": spec}


def text_of(*documents: dict[str, Any]) -> str:
    return str(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False))


def first_lines(text: str) -> list[int]:
    """Where each document of a text begins."""
    return [node.start_mark.line + 1 for node in yaml.compose_all(text, Loader=yaml.SafeLoader)]


def a_team(**changes: Any) -> list[dict[str, Any]]:
    """A team with all that belongs to it, what refers before what is referred to."""
    bot = {"ghostRef": "ghost", "shellRef": "shell", "modelRef": "model"}
    return [
        document("Team", "team", {"bots": ["bot"]}, **changes),
        document("Bot", "bot", bot, **changes),
        document("Ghost", "ghost", GHOST | {"skills": ["skill"]}, **changes),
        document("Model", "model", MODEL, **changes),
        document("Shell", "shell", SHELL, **changes),
        document("Skill", "skill", {"description": "Checks style."}, **changes),
    ]


async def applied(catalog: Catalog, text: str, **query: Any) -> list[dict[str, Any]]:
    """What became of each document, where all is well."""
    answer = await catalog.apply(text, **query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def actions(items: Sequence[dict[str, Any]]) -> list[str]:
    return [item["action"] for item in items]


def refused(answer: httpx.Response, status: int, code: str) -> list[dict[str, Any]]:
    """What was wrong, where something was."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    errors: list[dict[str, Any]] = answer.json().get("errors", [])
    return errors


def places(errors: Sequence[dict[str, Any]], text: str) -> list[tuple[int, str, str]]:
    """Document, field and code of each flaw, whose line is one of that document."""
    lines = [*first_lines(text), text.count("\n") + 2]
    for error in errors:
        assert lines[error["document"] - 1] <= error["line"] < lines[error["document"]], error
    return [(error["document"], error["field"], error["code"]) for error in errors]


async def state(installation: Installation) -> list[list[Any]]:
    async with installation.sql() as connection:
        return [[tuple(row) for row in await connection.fetch(statement)] for statement in STATE]


async def events(installation: Installation) -> list[tuple[str, str, str]]:
    """What was told about resources, oldest first: what, which one, its version."""
    found = []
    for message in await installation.messages("EVENTS", "evt.*.catalog.resource.*"):
        said = json.loads(message.data)
        found.append((message.subject.rpartition(".")[2], said["name"], said["resourceVersion"]))
    return found


async def all_told(installation: Installation, count: int) -> list[tuple[str, str, str]]:
    async def told() -> list[tuple[str, str, str]]:
        assert await installation.count("catalog.outbox") == 0
        found = await events(installation)
        assert len(found) == count, found
        return found

    return await eventually(told, what=f"{count} events")


async def project(catalog: Catalog, name: str) -> tuple[str, str]:
    """The id and the slug of a new one."""
    project_id = await catalog.http.project(catalog.headers, name)
    found = await catalog.http.get(f"/api/v1/projects/{project_id}", headers=catalog.headers)
    return project_id, str(found.json()["slug"])


# -- files of others -------------------------------------------------------------------------------------


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
            added = {change["path"]: change["new"] for change in tried[number]["diff"]}
            assert added["/spec"] == whole, "as the answer has it"
            plural = f"{kind.lower()}s"
            assert (await catalog.get(f"{plural}/n{number}"))["spec"] == whole, "as it is read again"
            alone = await catalog.create(plural, f"alone-{number}", sent)
            assert alone["spec"] == whole, "as the route of its kind has it"
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


# -- where it goes ---------------------------------------------------------------------------------------


async def test_namespaces_of_documents_and_of_references(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        _, slug = await project(catalog, "Somewhere else")
        text = text_of(
            document("Ghost", "none", GHOST),
            document("Ghost", "empty", GHOST, namespace=""),
            document("Ghost", "home", GHOST, namespace="default"),
            document("Ghost", "own", GHOST, namespace=catalog.namespace),
            document("Ghost", "there", GHOST, namespace=slug),
        )
        named = [item["namespace"] for item in await applied(catalog, text)]
        assert named == [catalog.namespace] * 4 + [slug]
        items = await applied(catalog, text, namespace=slug)
        assert [item["namespace"] for item in items] == [slug, slug, *[catalog.namespace] * 2, slug]
        assert actions(items) == ["created", "created", "unchanged", "unchanged", "unchanged"]
        assert {
            item["metadata"]["name"] for item in (await catalog.get("ghosts", namespace=slug))["items"]
        } == {
            "none",
            "empty",
            "there",
        }

        def bot(name: str, ghost: dict[str, str]) -> dict[str, Any]:
            return document("Bot", name, {"ghostRef": ghost, "shellRef": {"name": "shell"}}, namespace=slug)

        bots = text_of(
            document("Shell", "shell", SHELL, namespace=slug),
            bot("near", {"name": "there"}),
            bot("far", {"name": "home", "namespace": "default"}),
            bot("named", {"name": "own", "namespace": catalog.namespace}),
        )
        assert actions(await applied(catalog, bots)) == ["created"] * 4
        where = {
            name: (await catalog.get(f"bots/{name}/resolved", namespace=slug))["references"]["ghostRef"]
            for name in ("near", "far", "named")
        }
        assert {name: ghost["metadata"]["namespace"] for name, ghost in where.items()} == {
            "near": slug,
            "far": catalog.namespace,
            "named": catalog.namespace,
        }
        far = await catalog.get("bots/far", namespace=slug)
        assert far["spec"]["ghostRef"] == {"name": "home", "namespace": catalog.namespace}, (
            "to others it is another"
        )
        assert actions(await applied(catalog, bots)) == ["unchanged"] * 4
        lost = text_of(bot("lost", {"name": "home"}))
        errors = refused(await catalog.apply(lost), 422, "validation_failed")
        assert places(errors, lost) == [(1, "spec.ghostRef", "reference_not_found")]
        assert errors[0]["message"] == f"There is no ghost home in the namespace {slug}."


async def test_a_reference_to_the_default_namespace(installation: Installation) -> None:
    """As every exported file has them: nothing else in it says what `default` is called."""
    async with catalog_of(installation) as catalog:
        ghost = document("Ghost", "ghost", GHOST, namespace="default")
        refs = {"ghostRef": {"name": "ghost", "namespace": "default"}, "shellRef": {"name": "shell"}}
        bot = document("Bot", "bot", refs, namespace="default")
        text = text_of(ghost, bot, document("Shell", "shell", SHELL, namespace="default"))
        assert actions(await applied(catalog, text)) == ["created"] * 3
        spec = (await catalog.get("bots/bot"))["spec"]
        assert spec == {
            "ghostRef": {"name": "ghost", "namespace": catalog.namespace},
            "shellRef": {"name": "shell"},
        }


@pytest.mark.fresh
async def test_namespaces_of_others_are_not_there(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        project_id, slug = await project(catalog, "Closed")
        viewer = await catalog.http.join(catalog.headers, project_id, "viewer")
        developer = await catalog.http.join(catalog.headers, project_id, "developer")
        stranger = await catalog.http.sign_up()
        text = text_of(
            document("Ghost", "mine", GHOST),
            document("Ghost", "theirs", GHOST, namespace=slug),
            document("Ghost", "nowhere", GHOST, namespace="nowhere"),
        )
        closed = [(number, "metadata.namespace", "project_not_found") for number in (2, 3)]
        errors = refused(await catalog.apply(text, stranger), 404, "project_not_found")
        assert places(errors, text) == closed
        known = text_of(document("Ghost", "mine", GHOST), document("Ghost", "theirs", GHOST, namespace=slug))
        low = refused(await catalog.apply(known, viewer), 403, "role_too_low")
        assert places(low, known) == [(2, "metadata.namespace", "role_too_low")]
        assert await installation.count("catalog.resources") == 0
        done = await catalog.apply(known, developer)
        assert actions(done.json()["items"]) == ["created", "created"]
        bot = text_of(
            document("Shell", "s", SHELL),
            document("Bot", "b", {"ghostRef": {"name": "theirs", "namespace": slug}, "shellRef": "s"}),
        )
        errors = refused(await catalog.apply(bot, stranger), 422, "validation_failed")
        nobody = refused(
            await catalog.apply(bot.replace(slug, "nowhere"), stranger), 422, "validation_failed"
        )
        assert [error["code"] for error in errors] == ["reference_not_found"]
        assert errors[0]["message"].replace(slug, "nowhere") == nobody[0]["message"], (
            "nothing tells them apart"
        )
        assert actions((await catalog.apply(bot, viewer)).json()["items"]) == ["created", "created"]


@pytest.mark.fresh
async def test_documents_come_in_any_order(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        documents = a_team()
        items = await applied(catalog, text_of(*documents))
        assert [item["kind"] for item in items] == ["Team", "Bot", "Ghost", "Model", "Shell", "Skill"]
        assert actions(items) == ["created"] * 6
        told = await all_told(installation, 6)
        assert [version for _, _, version in told] == [str(number) for number in range(1, 7)]
        order = [name for _, name, _ in told]
        for before, after in (("skill", "ghost"), ("ghost", "bot"), ("shell", "bot"), ("bot", "team")):
            assert order.index(before) < order.index(after), "nobody hears of what refers to nothing yet"
        for turn in range(1, 6):
            _, slug = await project(catalog, f"Turn {turn}")
            turned = documents[turn:] + documents[:turn]
            items = await applied(catalog, text_of(*turned), namespace=slug)
            assert actions(items) == ["created"] * 6
            assert [item["kind"] for item in items] == [each["kind"] for each in turned]
            tree = await catalog.get("teams/team/resolved", namespace=slug)
            ghost = tree["references"]["members.0.botRef"]["references"]["ghostRef"]
            assert ghost["references"]["skills.0"]["metadata"]["namespace"] == slug


# -- all or nothing --------------------------------------------------------------------------------------


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


# -- dry runs --------------------------------------------------------------------------------------------


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
        ]
        assert only["diff"] == [mask]
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


# -- pruning ---------------------------------------------------------------------------------------------


async def names(catalog: Catalog, **query: Any) -> set[str]:
    plurals = ("ghosts", "models", "shells", "bots", "teams", "skills")
    pages = [await catalog.get(plural, **query) for plural in plurals]
    return {item["metadata"]["name"] for page in pages for item in page["items"]}


async def test_pruning_takes_what_the_selector_finds_and_nothing_else(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        _, slug = await project(catalog, "Next door")
        ours: dict[str, Any] = {"labels": {"app": "x", "env": "test"}}
        for plural in ("ghosts", "shells"):
            await catalog.create(plural, f"old-{plural}", **ours)
            await catalog.create(plural, f"others-{plural}", labels={"app": "y"})
            await catalog.create(plural, f"bare-{plural}")
            await catalog.create(plural, f"next-{plural}", namespace=slug, **ours)
        refs = {"ghostRef": "old-ghosts", "shellRef": "old-shells"}
        await catalog.create("bots", "old-bot", refs, **ours)
        text = text_of(document("Ghost", "kept", GHOST, **ours), document("Ghost", "others-ghosts", GHOST))
        items = await applied(catalog, text, prune=True, labelSelector="app=x,env in (test, prod)")
        assert actions(items) == ["created", "updated", "deleted", "deleted", "deleted"]
        assert [(item["document"], item["line"]) for item in items[2:]] == [(None, None)] * 3
        assert {item["name"] for item in items[2:]} == {"old-ghosts", "old-shells", "old-bot"}
        assert {item["namespace"] for item in items} == {catalog.namespace}
        left = {"kept", "others-ghosts", "others-shells", "bare-ghosts", "bare-shells"}
        assert await names(catalog) == left
        assert await names(catalog, namespace=slug) == {"next-ghosts", "next-shells"}
        again = await applied(catalog, text, prune=True, labelSelector="app=x")
        assert actions(again) == ["unchanged", "unchanged"]
        both = text + text_of(document("Ghost", "there", GHOST, namespace=slug)).join(("---\n", ""))
        items = await applied(catalog, both, prune=True, labelSelector="app=x")
        assert {(item["namespace"], item["name"]) for item in items if item["action"] == "deleted"} == {
            (slug, "next-ghosts"),
            (slug, "next-shells"),
        }
        gone = [item["metadata"]["name"] for item in (await catalog.get("bots", deleted=True))["items"]]
        assert gone == ["old-bot"], "it can be restored"


async def test_pruning_takes_a_selector(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        await catalog.create("ghosts", "there", labels={"app": "x"})
        text = text_of(document("Ghost", "new", GHOST))
        for selector in (None, "", "  "):
            query = {"prune": True} | ({"labelSelector": selector} if selector is not None else {})
            errors = refused(await catalog.apply(text, None, **query), 422, "validation_failed")
            assert [(error["field"], error["code"]) for error in errors] == [
                ("labelSelector", "selector_needed")
            ]
        bad = refused(await catalog.apply(text, prune=True, labelSelector="a=b=c"), 422, "validation_failed")
        assert bad[0]["code"] == "bad_selector"
        assert await names(catalog) == {"there"}
        assert actions(await applied(catalog, text, labelSelector="app=x")) == ["created"], (
            "no pruning asked for"
        )
        assert await names(catalog) == {"there", "new"}


async def test_what_is_referred_to_from_elsewhere_is_not_pruned(installation: Installation) -> None:
    async with catalog_of(installation) as catalog:
        _, slug = await project(catalog, "Holder")
        ours: dict[str, Any] = {"labels": {"app": "x"}}
        await catalog.create("ghosts", "wanted", **ours)
        await catalog.create("ghosts", "free", **ours)
        await catalog.create("shells", "shell")
        refs = {"ghostRef": "wanted", "shellRef": "shell"}
        await catalog.create("bots", "holder", refs)
        before = await state(installation)
        text = text_of(document("Ghost", "new", GHOST))
        answer = await catalog.apply(text, prune=True, labelSelector="app=x")
        errors = refused(answer, 409, "still_referenced")
        assert [error["field"] for error in errors] == [f"Bot/{catalog.namespace}/holder"]
        assert await state(installation) == before, "the documents are not applied, either"
        moved = text_of(
            document("Ghost", "new", GHOST),
            document("Bot", "holder", {"ghostRef": "new", "shellRef": "shell"}),
        )
        items = await applied(catalog, moved, prune=True, labelSelector="app=x")
        assert actions(items) == ["created", "updated", "deleted", "deleted"], "nobody refers to it any more"
        await catalog.create("ghosts", "far", **ours)
        far = {"ghostRef": {"name": "far", "namespace": catalog.namespace}, "shellRef": "s"}
        await applied(
            catalog,
            text_of(document("Shell", "s", SHELL), document("Bot", "b", far)),
            namespace=slug,
        )
        answer = await catalog.apply(text, prune=True, labelSelector="app=x")
        refused(answer, 409, "still_referenced")
        assert slug not in answer.text
        assert (await catalog.get("ghosts/far"))["metadata"]["deletedAt"] is None


@pytest.mark.parametrize(
    "text", ["", text_of(document("Task", "t", {}, api=THEIRS))], ids=["nothing", "only-foreign-documents"]
)
async def test_who_may_only_read_prunes_nothing(installation: Installation, text: str) -> None:
    """Even where no document names a namespace that would have to be checked."""
    async with catalog_of(installation) as catalog:
        project_id, slug = await project(catalog, "Ours")
        await catalog.create("ghosts", "precious", labels={"app": "x"}, namespace=slug)
        viewer = await catalog.http.join(catalog.headers, project_id, "viewer")
        stranger = await catalog.http.sign_up()
        for who, status in ((viewer, 403), (stranger, 404)):
            answer = await catalog.apply(text, who, namespace=slug, prune=True, labelSelector="app=x")
            assert (await catalog.get("ghosts", namespace=slug))["items"], "it is still there"
            assert answer.status_code in (status, 422), answer.text


# -- versions --------------------------------------------------------------------------------------------


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


# -- notations and names ---------------------------------------------------------------------------------


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


# -- large ones ------------------------------------------------------------------------------------------


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
