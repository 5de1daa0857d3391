"""Kinds and fields that are wrong: each is named."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.support.catalog import SPECS, Catalog, catalog_of
from tests.support.factories import document
from tests.support.flawed import BEFORE, GOOD, refused, send
from tests.support.installation import Installation

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


# -- kinds and fields -------------------------------------------------------------------------------------
TEXT, NUMBER, FLAG, LIST, MAP = "text", 5, True, ["x", {"y": 1}], {"x": 1}
NO_TEXT = (NUMBER, FLAG, LIST, MAP)
NO_LIST = (TEXT, NUMBER, FLAG, MAP)
NO_MAP = (TEXT, NUMBER, FLAG, LIST)
NO_FLAG = (TEXT, NUMBER, LIST, MAP)
BASE: dict[str, dict[str, Any]] = {
    "Ghost": {"systemPrompt": "x"},
    "Model": {"modelConfig": {}},
    "Shell": {"shellType": "x"},
    "Bot": {"ghostRef": {"name": "g"}, "shellRef": {"name": "s"}},
    "Team": {"members": [], "collaborationModel": "solo"},
    "Skill": {"description": "x"},
}
MCP: dict[str, tuple[Any, ...]] = {
    "mcpServers": NO_MAP,
    "mcpServers.gh": (*NO_MAP, None),
    "mcpServers.gh.command": NO_TEXT,
    "mcpServers.gh.args": NO_LIST,
    "mcpServers.gh.args.0": (*NO_TEXT, None),
    "mcpServers.gh.env": NO_MAP,
    "mcpServers.gh.env.A": (LIST, MAP),
    "mcpServers.gh.url": NO_TEXT,
    "mcpServers.gh.headers": NO_MAP,
    "mcpServers.gh.headers.A": (LIST, MAP),
}
WRONG: dict[str, dict[str, tuple[Any, ...]]] = {
    "Ghost": MCP
    | {
        "systemPrompt": (*NO_TEXT, None),
        "description": NO_TEXT,
        "skills": NO_LIST,
        "skills.0": (*NO_TEXT, None),
        "preload_skills": NO_LIST,
        "preload_skills.0": (*NO_TEXT, None),
        "skill_refs": NO_MAP,
        "skill_refs.a": (*NO_MAP, None),
        "skill_refs.a.namespace": (*NO_TEXT, "x" * 64),
        "skill_refs.a.is_public": NO_FLAG,
    },
    "Model": {
        "modelConfig": (*NO_MAP, None),
        "modelConfig.env": NO_MAP,
        "modelConfig.temperature": (TEXT, LIST, MAP, -0.1),
        "modelConfig.maxTokens": (TEXT, LIST, MAP, 0, -1, 1.5),
        "protocol": NO_TEXT,
        "apiFormat": NO_TEXT,
        "modelType": NO_TEXT,
        "isCustomConfig": NO_FLAG,
        "modelGroup": NO_TEXT,
        "costIndex": (FLAG, LIST, MAP),
        "description": NO_TEXT,
    },
    "Shell": {
        "shellType": (*NO_TEXT, None, "", "x" * 101),
        "supportModel": NO_LIST,
        "supportModel.0": (*NO_TEXT, None),
        "baseImage": NO_TEXT,
        "baseShellRef": NO_TEXT,
        "requiresWorkspace": NO_FLAG,
        "description": NO_TEXT,
    },
    "Bot": {
        "ghostRef": (NUMBER, FLAG, LIST, None),
        "ghostRef.name": (*NO_TEXT, None, "", "x" * 101),
        "ghostRef.namespace": (*NO_TEXT, "x" * 64),
        "shellRef": (NUMBER, FLAG, LIST, None),
        "shellRef.name": (*NO_TEXT, None, ""),
        "modelRef": (NUMBER, FLAG, LIST),
        "modelRef.name": (*NO_TEXT, None, ""),
        "secondaryModelRef": (NUMBER, FLAG, LIST),
        "secondaryModelRef.name": (*NO_TEXT, None, ""),
        "description": NO_TEXT,
    },
    "Team": {
        "members": (*NO_LIST, None),
        "members.0": (*NO_MAP, None),
        "members.0.botRef": (NUMBER, FLAG, LIST, None),
        "members.0.role": NO_TEXT,
        "members.0.prompt": NO_TEXT,
        "members.0.requireConfirmation": NO_FLAG,
        "members.0.contextPassing": (*NO_TEXT, "all", ""),
        "collaborationModel": (*NO_TEXT, None, "quarrel", "", "SOLO"),
        "bind_mode": NO_LIST,
        "bind_mode.0": (*NO_TEXT, None),
        "description": NO_TEXT,
        "icon": NO_TEXT,
    },
    "Skill": MCP
    | {
        "description": (*NO_TEXT, None),
        "prompt": NO_TEXT,
        "version": (FLAG, LIST, MAP),
        "author": NO_TEXT,
        "tags": NO_LIST,
        "tags.0": (*NO_TEXT, None),
        "bindShells": NO_LIST,
        "tools": NO_LIST,
        "tools.0": (*NO_MAP, None),
        "tools.0.name": (*NO_TEXT, None),
        "tools.0.provider": NO_TEXT,
        "provider": NO_MAP,
        "source": NO_MAP,
    },
}


def _with(spec: Any, path: list[str], value: Any) -> Any:
    """The spec with that value in that place, and with what has to stand around it."""
    if not path:
        return value
    step, *rest = path
    if step == "0":
        around: dict[str, Any] = {"members": {"botRef": {"name": "b"}}, "tools": {"name": "t"}}
        return [_with(around["members" if "botRef" in str(spec) else "tools"] if rest else None, rest, value)]
    there = spec if isinstance(spec, dict) else {}
    inside = (
        [{"botRef": 1}]
        if step == "members"
        else there.get(step, {"name": "x"} if step.endswith("Ref") else {})
    )
    return there | {step: _with(inside, rest, value)}


def wrong_specs(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for field, values in WRONG[kind].items():
        for value in values:
            yield f"spec.{field}", _with(BASE[kind], field.split("."), value)


@pytest.mark.parametrize("kind", list(WRONG))
async def test_wrong_types_of_every_field(catalog: Catalog, kind: str) -> None:
    """In a file and alone; each flaw is found where it is."""
    wrong = list(wrong_specs(kind))
    missed: list[tuple[str, Any, Any]] = []
    for start in range(0, len(wrong), 8):  # no more than are told of at once
        some = wrong[start : start + 8]
        good = document(kind, "good", BASE["Shell"]) | {"kind": "Shell"}
        documents = [good, *(document(kind, f"n{n}", spec) for n, (_, spec) in enumerate(some))]
        text = yaml.safe_dump_all(documents)
        lines = [node.start_mark.line + 1 for node in yaml.compose_all(text, Loader=yaml.SafeLoader)]
        lines.append(text.count("\n") + 1)
        errors = refused(await catalog.apply(text))
        for number, (field, spec) in enumerate(some, 2):
            of_it = [error for error in errors if error["document"] == number]
            assert all(lines[number - 1] <= error["line"] < lines[number] for error in of_it), of_it
            if {error["field"] for error in of_it} != {field}:
                missed.append((field, spec, of_it))
    for field, spec in wrong:
        answer = await send(catalog, "POST", f"{kind.lower()}s", {"metadata": {"name": "x"}, "spec": spec})
        errors = refused(answer)
        if {error["field"] for error in errors} != {field}:
            missed.append((field, spec, errors))
    assert missed == []
    assert (await catalog.get("shells"))["items"] == []
    assert (await catalog.get(f"{kind.lower()}s"))["items"] == []


async def test_a_field_is_named_in_full_whatever_its_parts_are_called(catalog: Catalog) -> None:
    for name in ("int", "str", "bool", "none", "list[str]"):
        spec = {"systemPrompt": "x", "mcpServers": {name: {"command": 5}}}
        errors = refused(await send(catalog, "POST", "ghosts", {"metadata": {"name": "x"}, "spec": spec}))
        assert [error["field"] for error in errors] == [f"spec.mcpServers.{name}.command"]
        (error,) = refused(await catalog.apply(yaml.safe_dump(document("Ghost", "x", spec))))
        assert error["line"] == 8, "where the command stands"


HEADERS: dict[str, tuple[Any, ...]] = {
    "metadata": (*NO_MAP, None),
    "metadata.name": (*NO_TEXT, None),
    "metadata.namespace": (NUMBER, LIST, MAP, "x" * 64),
    "metadata.displayName": (*NO_TEXT, "x" * 201),
    "metadata.labels": NO_MAP,
    "metadata.labels.a": NO_TEXT,
    "metadata.annotations": NO_MAP,
    "metadata.annotations.a": NO_TEXT,
    "metadata.resourceVersion": (LIST, MAP, 1.5),
    "spec": (*NO_MAP, None),
    "apiVersion": (NUMBER, LIST, MAP),
    "kind": (NUMBER, LIST, MAP, "", "ghost", "Ghosts"),
}


async def test_wrong_types_around_the_spec(catalog: Catalog, subtests: pytest.Subtests) -> None:
    await catalog.create("ghosts", "there", labels={"a": "b"})
    before = await catalog.get("ghosts/there")
    for field, values in HEADERS.items():
        for value in values:
            wrong = document("Ghost", "there", {"systemPrompt": "new"})
            *around, last = field.split(".")
            place = wrong
            for step in around:
                place = place.setdefault(step, {})
            place[last] = value
            with subtests.test(field, value=repr(value)[:30], method="apply"):
                text = json.dumps([document("Ghost", "good", {"systemPrompt": "x"}), wrong], indent=1)
                errors = refused(await catalog.apply(text))
                assert {error["document"] for error in errors} == {2}
                assert any(error["field"].startswith(field) for error in errors), errors
            for method, path in (("POST", "ghosts"), ("PUT", "ghosts/there"), ("PATCH", "ghosts/there")):
                if value is None and method != "POST":
                    continue  # there it means that nothing is said of it
                with subtests.test(field, value=repr(value)[:30], method=method):
                    answer = await send(catalog, method, path, wrong)
                    assert 400 <= answer.status_code < 500, answer.text
                    assert field in answer.text, answer.text
    assert await catalog.get("ghosts/there") == before
    await catalog.get("ghosts/good", 404)


MISSING: tuple[tuple[dict[str, Any], str], ...] = (
    ({}, "apiVersion"),
    ({"apiVersion": "signalbox.dev/v1"}, "kind"),
    ({"kind": "Ghost"}, "apiVersion"),
    ({"apiVersion": "signalbox.dev/v1", "kind": "Ghost", "spec": {"systemPrompt": "x"}}, "metadata.name"),
    ({"apiVersion": "signalbox.dev/v1", "kind": "Ghost", "metadata": {"name": "x"}}, "spec.systemPrompt"),
    ({"apiVersion": "signalbox.dev/v1", "kind": "Bot", "metadata": {"name": "x"}}, "spec.ghostRef"),
)


async def test_what_is_missing_is_named(catalog: Catalog, subtests: pytest.Subtests) -> None:
    for content, field in MISSING:
        with subtests.test(field, given=sorted(content)):
            text = GOOD + yaml.safe_dump(content)
            errors = refused(await catalog.apply(text))
            assert (errors[0]["document"], errors[0]["field"]) == (2, field)
            assert errors[0]["line"] > BEFORE
            await catalog.get("ghosts/good", 404)


LABELS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"": "x"}, "metadata.labels"),
    ({"-a": "x"}, "metadata.labels"),
    ({"a b": "x"}, "metadata.labels"),
    ({"a" * 64: "x"}, "metadata.labels"),
    ({"a/b/c": "x"}, "metadata.labels"),
    ({"Example.com/a": "x"}, "metadata.labels"),
    ({"/a": "x"}, "metadata.labels"),
    ({"a": "x" * 64}, "metadata.labels"),
    ({"a": "-x"}, "metadata.labels"),
    ({"a": "x y"}, "metadata.labels"),
    ({"a": "é"}, "metadata.labels"),
    ({"a": "x\n"}, "metadata.labels"),
    ({f"n{n}": "x" for n in range(65)}, "metadata.labels"),
)


async def test_labels_that_break_the_rules(catalog: Catalog, subtests: pytest.Subtests) -> None:
    await catalog.create("ghosts", "there", labels={"a": "b"})
    for labels, field in LABELS:
        with subtests.test(repr(labels)[:40]):
            wrong = document("Ghost", "there", SPECS["ghosts"], labels=labels)
            text = json.dumps([document("Ghost", "good", SPECS["ghosts"]), wrong], indent=1)
            errors = refused(await catalog.apply(text))
            assert {error["document"] for error in errors} == {2}
            if list(labels) != [""]:  # an empty key is refused before it is known to be a label's
                assert {error["field"] for error in errors} == {field}
            for method, path in (("POST", "ghosts"), ("PUT", "ghosts/there"), ("PATCH", "ghosts/there")):
                errors = refused(await send(catalog, method, path, wrong))
                assert {error["field"] for error in errors} == {field}, method
    assert (await catalog.get("ghosts/there"))["metadata"]["resourceVersion"] == "1"
    await catalog.get("ghosts/good", 404)


# -- characters that cannot be kept -----------------------------------------------------------------------
NOT_TEXT = {"nul": "a\x00b", "half": "a\ud800b", "other-half": "\udfff"}
PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "spec": lambda text: {"spec": {"systemPrompt": text}},
    "key": lambda text: {"spec": {"systemPrompt": "x", text: 1}},
    "inside": lambda text: {"spec": {"systemPrompt": "x", "a": [{"b": [text]}]}},
    "inside-key": lambda text: {"spec": {"systemPrompt": "x", "a": [{text: 1}]}},
    "credential": lambda text: {"spec": {"systemPrompt": "x", "env": {"API_KEY": text}}},
    "name": lambda text: {"metadata": {"name": text}},
    "namespace": lambda text: {"metadata": {"namespace": text}},
    "display-name": lambda text: {"metadata": {"displayName": text}},
    "label": lambda text: {"metadata": {"labels": {"a": text}}},
    "label-key": lambda text: {"metadata": {"labels": {text: "a"}}},
    "annotation": lambda text: {"metadata": {"annotations": {"a": text}}},
    "annotation-key": lambda text: {"metadata": {"annotations": {text: "a"}}},
    "api-version": lambda text: {"apiVersion": text},
    "kind": lambda text: {"kind": text},
    "status": lambda text: {"status": {"a": text}},
    "elsewhere": lambda text: {text: text},
}


@pytest.mark.parametrize("what", list(NOT_TEXT))
async def test_characters_that_cannot_be_kept(catalog: Catalog, subtests: pytest.Subtests, what: str) -> None:
    await catalog.create("ghosts", "there", labels={"a": "b"})
    before = await catalog.get("ghosts/there")
    for name, place in PLACES.items():
        wrong = place(NOT_TEXT[what])
        metadata = {"name": "there"} | wrong.get("metadata", {})
        body = {"spec": SPECS["ghosts"]} | wrong | {"metadata": metadata}
        for method, path in (("POST", "ghosts"), ("PUT", "ghosts/there"), ("PATCH", "ghosts/there")):
            with subtests.test(name, method=method):
                refused(await send(catalog, method, path, body))
        with subtests.test(name, method="apply"):
            whole = {"apiVersion": "signalbox.dev/v1", "kind": "Ghost"} | body
            error = refused(await catalog.apply(json.dumps([whole])))[0]
            assert (error["document"], error["line"], error["code"]) == (1, 1, "not_text")
    assert await catalog.get("ghosts/there") == before


async def test_addresses_that_cannot_be_kept(catalog: Catalog, subtests: pytest.Subtests) -> None:
    await catalog.create("ghosts", "there")
    for text in ("%00", "a%00b", "%ed%a0%80", "%ff", "%0a", "a%2fb", "..%2f", "%20", "x" * 2000):
        for method, path in (
            ("GET", f"ghosts/{text}"),
            ("PUT", f"ghosts/{text}"),
            ("PATCH", f"ghosts/{text}"),
            ("DELETE", f"ghosts/{text}"),
            ("GET", f"{text}/there"),
            ("POST", text),
            ("GET", f"ghosts/{text}/resolved"),
            ("GET", f"ghosts/{text}/history"),
            ("POST", f"ghosts/{text}/restore"),
            ("GET", f"ghosts/there?namespace={text}"),
            ("DELETE", f"ghosts/there?namespace={text}"),
            ("GET", f"skills/{text}/package"),
        ):
            with subtests.test(text[:10], to=f"{method} {path[:30]}"):
                body = {"spec": SPECS["ghosts"]} if method in ("POST", "PUT", "PATCH") else b""
                answer = await send(catalog, method, path, body)
                if answer.status_code != 405:  # one slash more is another route
                    assert 400 <= answer.status_code < 500, answer.text
                assert answer.json()["code"], "a problem"
    for text in ("%00", "%ed%a0%80", "%ff", "a b"):
        for query in (
            f"labelSelector={text}%3Db",
            f"cursor={text}",
            f"q={text}",
            f"resourceVersion={text}&watch=1",
        ):
            with subtests.test(text, query=query):
                answer = await send(catalog, "GET", f"ghosts?{query}", b"")
                if not (query.startswith("q=") and text != "%00"):  # any other text can be looked for
                    assert 400 <= answer.status_code < 500, answer.text
                assert answer.status_code < 500, answer.text
    assert (await catalog.get("ghosts/there"))["metadata"]["resourceVersion"] == "1"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "ghosts"), ("PUT", "ghosts/there"), ("PATCH", "ghosts/there")],
    ids=["post", "put", "patch"],
)
async def test_json_bombs_on_the_routes_of_a_kind(
    catalog: Catalog, subtests: pytest.Subtests, method: str, path: str
) -> None:
    await catalog.create("ghosts", "there")
    bodies: dict[str, tuple[bytes, int]] = {
        "deep": (b'{"spec":{"a":' + b"[" * 70 + b"]" * 70 + b"}}", 422),
        "deeper": (b'{"spec":{"a":' + b"[" * 900 + b"]" * 900 + b"}}", 422),
        "deepest": (b'{"spec":' + b"[" * 200_000, 400),
        "deep-objects": (b'{"spec":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, 400),
        "nan": (b'{"spec":{"systemPrompt":"x","a":NaN}}', 422),
        "infinity": (b'{"spec":{"systemPrompt":"x","a":[-Infinity]}}', 422),
        "huge-fraction": (b'{"spec":{"systemPrompt":"x","a":1e999}}', 422),
        "huge-integer": (b'{"spec":{"systemPrompt":"x","a":' + b"9" * 5000 + b"}}", 400),
        "list": (b"[]", 422),
        "null": (b"null", 422),
        "text": (b'"x"', 422),
        "nothing": (b"", 422),
        "not-utf8": (b'{"spec":{"systemPrompt":"\xff"}}', 400),
        "not-json": (b"kind: Ghost", 400),
        "too-large": (b'{"spec":{"systemPrompt":"' + b"x" * 512 * 1024 + b'"}}', 413),
    }
    codes = {400: "invalid_json", 413: "body_too_large", 422: "validation_failed"}
    for name, (body, status) in bodies.items():
        with subtests.test(name):
            refused(await send(catalog, method, path, body), status, codes[status])
    assert (await catalog.get("ghosts/there"))["metadata"]["resourceVersion"] == "1"
