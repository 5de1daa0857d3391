"""Documents that are wrong, hostile or too large: each is refused for what it is, and nobody else notices."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from signalbox_common.contracts.catalog import Apply
from signalbox_common.contracts.streams import MAX_PAYLOAD
from signalbox_common.testing import eventually, running
from tests.support.catalog import KINDS, SPECS, Catalog, catalog_of
from tests.support.installation import Installation
from tests.support.pace import pace
from tests.support.services import process

MIB = 1024 * 1024
JSON = {"content-type": "application/json"}
HEAD = "apiVersion: signalbox.dev/v1\nkind: Ghost\nmetadata: {name: bad}\nspec:\n  systemPrompt: x\n"
GOOD = HEAD.replace("bad", "good") + "---\n"
BEFORE = GOOD.count("\n")
"""Lines before the second document."""


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


def document(kind: str, name: Any, spec: Any, **metadata: Any) -> dict[str, Any]:
    header = {"apiVersion": "signalbox.dev/v1", "kind": kind}
    return header | {"metadata": {"name": name} | metadata, "spec": spec}


def refused(
    answer: httpx.Response, status: int = 422, code: str = "validation_failed"
) -> list[dict[str, Any]]:
    """The errors of a problem that is one in every respect."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text[:500]
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text[:500]
    assert problem["status"] == status
    assert problem["type"] == f"urn:signalbox:problem:{code}"
    assert problem["correlationId"] == answer.headers["x-correlation-id"]
    assert len(answer.content) < 256 * 1024, "an answer that can be read"
    errors: list[dict[str, Any]] = problem.get("errors", [])
    return errors


async def send(
    catalog: Catalog, method: str, path: str, body: Any, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Whatever it is, as JSON: also what no client would let through."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = catalog.headers | JSON | (headers or {})
    return await catalog.http.request(method, f"{KINDS}/{path}", content=content, headers=sent)


# -- notation --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What stands behind a good document and the head of another one, and what is said to it."""

    name: str
    text: str
    code: str
    line: int
    """Counted in the second document, whose head has five."""
    field: str = ""
    document: int | None = 2


def _laughs() -> str:
    lines = ['  l0: &l0 ["ha", "ha", "ha", "ha", "ha", "ha", "ha", "ha", "ha", "ha"]\n']
    lines += [f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10)]
    return "".join(lines)


YAML_CASES = (
    Case("duplicate key", "  a: 1\n  b: 2\n  a: 3\n", "duplicate_key", 8, "spec.a"),
    Case("duplicate key at the top", "kind: Ghost\n", "duplicate_key", 6, "kind"),
    Case("duplicate key in a list", "  a: [{b: 1, b: 2}]\n", "duplicate_key", 6, "spec.a.0.b"),
    Case("tab", "\ta: 1\n", "bad_yaml", 6),
    Case("open quote", '  a: "x\n  b: 1\n', "bad_yaml", 7),
    Case("no colon", "  a\n", "bad_yaml", 6),
    Case("wrong indentation", "   a: 1\n", "bad_yaml", 6),
    Case("cycle", "  a: &a [*a]\n", "cycle", 6, "spec.a.0"),
    Case("cycle through a key", "  a: &a {b: {c: *a}}\n", "cycle", 6, "spec.a.b.c"),
    Case("alias without anchor", "  a: *nobody\n", "unknown_alias", 6, "spec.a"),
    Case("object tag", "  a: !!python/object/apply:os.system [ls]\n", "unknown_tag", 6, "spec.a"),
    Case("tag that does not fit", "  a: !!int x\n", "wrong_tag", 6, "spec.a"),
    Case("not a number", "  a: .nan\n", "bad_number", 6, "spec.a"),
    Case("infinity", "  a: -.inf\n", "bad_number", 6, "spec.a"),
    Case("integer of 65 bits", "  a: 9223372036854775808\n", "bad_number", 6, "spec.a"),
    Case("integer without end", f"  a: {'9' * 5000}\n", "bad_number", 6, "spec.a"),
    Case("hexadecimal without end", f"  a: 0x{'f' * 5000}\n", "bad_number", 6, "spec.a"),
    Case("fraction beyond doubles", "  a: 1e999\n", "bad_number", 6, "spec.a"),
    Case("null as a key", "  ~: 1\n", "bad_key", 6, "spec."),
    Case("list as a key", "  ? [a]\n  : 1\n", "bad_key", 6, "spec.?"),
    Case("merge of a text", "  <<: x\n", "bad_merge", 6, "spec.<<"),
    Case("NUL, escaped", '  a: "\\0"\n', "not_text", 6, "spec.a"),
    Case("NUL in a key, escaped", '  "\\0": 1\n', "not_text", 6, "spec.\N{REPLACEMENT CHARACTER}"),
    Case("half of a pair, escaped", '  a: "\\ud800"\n', "bad_yaml", 6),
    Case("NUL", "  a: \0\n", "not_text", 6, document=None),
    Case("control character", "  b: 1\n  a: \x1b[2J\n", "not_text", 7, document=None),
    Case("deep flow", f"  a: {'[' * 100}\n", "too_deep", 6, "spec.a" + ".0" * 62),
    Case(
        "deep block",
        "".join(f"{' ' * depth}a:\n" for depth in range(2, 100)),
        "too_deep",
        69,
        "spec" + ".a" * 63,
    ),
    Case("billion laughs", _laughs(), "too_large", 11),
    Case("aliases of a list", f"  a: &a [{'1,' * 2000}]\n  b: [{'*a,' * 2000}]\n", "too_large", 7),
    Case("aliases of a text", f"  a: &a {'x' * 50_000}\n  b: [{'*a,' * 9000}]\n", "too_large", 7),
    Case("aliases in merges", f"  a: &a {{{','.join(f'k{n}: 1' for n in range(2000))}}}\n"
         + "".join(f"  b{n}: {{<<: *a}}\n" for n in range(100)), "too_large", 55),
)  # fmt: skip


async def test_yaml_that_is_none(catalog: Catalog, subtests: pytest.Subtests) -> None:
    dearest = await pace(lambda: catalog.apply(_many_nodes()), times=1)
    for case in YAML_CASES:
        with subtests.test(case.name):
            started = time.perf_counter()
            answer = await catalog.apply(GOOD + HEAD + case.text)
            errors = refused(answer)
            error = errors[0]
            assert error["code"] == case.code, error
            assert error.get("document") == case.document, error
            assert error["line"] == BEFORE + case.line, error
            if case.code != "too_large":
                assert error["field"] == case.field, error
            else:
                assert error["field"].split(".")[:1] == ["spec"], error
            if case.document is not None:
                where = f"Document 2, line {error['line']}: "
                assert answer.json()["detail"].startswith(where), "who reads no further knows it, too"
            assert time.perf_counter() - started < dearest, "no dearer than the largest text that is one"
            assert (await catalog.get("ghosts/good", 404))["code"] == "resource_not_found"


def _json_case(value: str) -> str:
    good, bad = (json.dumps(document("Ghost", name, {"systemPrompt": "x"})) for name in ("good", "bad"))
    return f"[\n{good},\n{bad[:-2]},\n{value}\n}}}}]"


JSON_CASES: tuple[tuple[str, str, str, str], ...] = (
    ("not a number", '"a": NaN', "bad_number", "spec.a"),
    ("infinity", '"a": [-Infinity]', "bad_number", "spec.a.0"),
    ("integer of 65 bits", '"a": -9223372036854775809', "bad_number", "spec.a"),
    ("integer without end", f'"a": {"9" * 5000}', "bad_number", "spec.a"),
    ("fraction beyond doubles", '"a": 1e400', "bad_number", "spec.a"),
    ("half of a pair", '"a": "\\ud800"', "not_text", "spec.a"),
    ("the other half", '"a": {"b": ["x\\udfff"]}', "not_text", "spec.a.b.0"),
    ("half of a pair in a key", '"\\udc00": 1', "not_text", "spec.\N{REPLACEMENT CHARACTER}"),
    ("NUL", '"a": "\\u0000"', "not_text", "spec.a"),
    ("duplicate key", '"a": 1, "a": 2', "duplicate_key", "spec.a"),
    ("empty key", '"": 1', "bad_key", "spec."),
    ("no comma", '"a": 1 "b": 2', "bad_json", ""),
    ("open string", '"a": "x', "bad_json", ""),
    ("deep", f'"a": {"[" * 100}{"]" * 100}', "too_deep", "spec.a" + ".0" * 61),
    ("deep without end", '"a": ' + '{"a":' * 100_000, "too_deep", "spec" + ".a" * 62),
)


async def test_json_that_is_none(catalog: Catalog, subtests: pytest.Subtests) -> None:
    for name, value, code, field in JSON_CASES:
        with subtests.test(name):
            error = refused(await catalog.apply(_json_case(value)))[0]
            assert (error["code"], error.get("document"), error["line"]) == (code, 2, 4), error
            assert error["field"] == field, error
            assert (await catalog.get("ghosts/good", 404))["code"] == "resource_not_found"


WHOLE_TEXTS: dict[str, tuple[bytes, str, str]] = {
    "binary": (bytes(range(256)) * 100, "not_utf8", "Line 2"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(1000), "not_utf8", "Line 1"),
    "latin-1": (GOOD.encode() + HEAD.replace("bad", "b\xe4d").encode("latin-1"), "not_utf8", "Line 9"),
    "utf-16": ((GOOD + HEAD).encode("utf-16"), "not_utf8", "Line 1"),
    "nul-bytes": (bytes(1000), "validation_failed", "U+0000"),
    "a-text": (b"just some words\n", "validation_failed", "a text"),
    "a-number": (b"7", "validation_failed", "a single value"),
    "a-list-of-texts": (b"[a, b]", "validation_failed", "2 things"),
    "a-list-in-a-list": (b"[[{}]]", "validation_failed", "a list"),
    "opening-brackets": (b"[" * MIB, "validation_failed", "64 levels"),
    "opening-braces": (b'{"a":' * (MIB // 5), "validation_failed", "64 levels"),
    "block-lists": (b"- " * (MIB // 2), "validation_failed", "64 levels"),
    "questions": (b"? " * (MIB // 2), "validation_failed", ""),
}


async def test_texts_that_are_no_documents(catalog: Catalog, subtests: pytest.Subtests) -> None:
    dearest = await pace(lambda: catalog.apply(_many_nodes()), times=1)
    for name, (text, code, said) in WHOLE_TEXTS.items():
        with subtests.test(name):
            started = time.perf_counter()
            answer = await catalog.apply(text)
            refused(answer, 422, code)
            assert said in answer.json()["detail"], answer.text
            assert time.perf_counter() - started < dearest, "no dearer than the largest text that is one"
    assert (await catalog.get("ghosts"))["items"] == []


NOTHING: dict[str, bytes] = {
    "nothing": b"",
    "blanks": b" \n\n \n",
    "comments": b"# nothing\n---\n# here\n...\n",
    "dashes": b"---\n---\n---\n",
    "list": b"[]",
    "kind-list": b"apiVersion: v1\nkind: List\nitems: []\n",
}


async def test_nothing_to_apply(catalog: Catalog, subtests: pytest.Subtests) -> None:
    """Whoever prunes with a file that turned out empty would lose all that there is."""
    for name, text in NOTHING.items():
        with subtests.test(name):
            await catalog.create("ghosts", name, labels={"app": name})
            answer = await catalog.apply(text, prune=True, labelSelector=f"app={name}")
            assert (await catalog.get(f"ghosts/{name}"))["metadata"]["deletedAt"] is None
            assert answer.status_code in (400, 422), answer.text


async def test_characters_that_take_more_room_on_the_way(catalog: Catalog, subtests: pytest.Subtests) -> None:
    """On the bus each of these is two bytes or six, so that a text within the limit becomes too long."""
    for character in ('"', "\n", "\t", "\\", "\x01", "\0"):
        with subtests.test(f"{ord(character):02x}"):
            answer = await catalog.apply("#" + character * (MIB - 1))
            assert answer.status_code < 500, answer.text
    assert (await catalog.get("ghosts"))["items"] == []


def _near_the_limit() -> bytes:
    """A text whose message fits into the largest one, but not together with its headers."""
    room = MAX_PAYLOAD - 100 - len(Apply.model_validate({"text": ""}).encode())
    return b"#" * (room % 2) + b"\n" * (room // 2)


def _growing() -> bytes:
    numbers = ",".join(["9e15"] * 104_820)
    return f'{{"metadata":{{"name":"x"}},"spec":{{"systemPrompt":"x","a":[{numbers}]}}}}'.encode()


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/v1/apply", _near_the_limit()), (f"{KINDS}/ghosts", _growing())],
    ids=["apply", "kinds"],
)
async def test_a_message_that_is_just_too_long_does_not_end_the_gateway(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, path: str, body: bytes
) -> None:
    """The server cuts off whoever sends more than it allows, and the gateway ends when it is cut off."""
    ended: list[int] = []
    monkeypatch.setattr("signalbox_common.bus.connection.os._exit", ended.append)
    assert len(body) <= MIB
    posting = asyncio.create_task(catalog.http.post(path, content=body, headers=catalog.headers | JSON))

    async def answered() -> bool:
        return posting.done() or bool(ended)

    await eventually(answered, what="an answer")
    posting.cancel()
    assert not ended, "the gateway's process would be gone now"
    answer = await posting
    assert 400 <= answer.status_code < 500 or answer.json() == {"items": [], "dryRun": False}, answer.text


async def test_too_many_documents(catalog: Catalog) -> None:
    small = "apiVersion: signalbox.dev/v1\nkind: Shell\nmetadata: {{name: s{}}}\nspec: {{type: x}}\n"
    fits = [small.format(number) for number in range(1000)]
    for count in (1001, 10_000):
        text = "---\n".join(small.format(number) for number in range(count))[:MIB]
        (error,) = refused(await catalog.apply(text))
        assert (error["code"], error["document"], error["line"]) == ("too_many_documents", 1001, 5001)
        assert (await catalog.get("shells"))["items"] == []
    array = json.dumps([document("Shell", f"s{number}", {"type": "x"}) for number in range(1001)])
    assert refused(await catalog.apply(array))[0]["code"] == "too_many_documents"
    tiny = "[" + "{}," * 9999 + "{}]"
    assert refused(await catalog.apply(tiny))[0]["code"] == "too_many_documents"
    answer = await catalog.apply("---\n".join(fits))
    assert len(answer.json()["items"]) == 1000


# -- kinds and fields ------------------------------------------------------------------------------------

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


# -- how much --------------------------------------------------------------------------------------------


def _large(size: int) -> dict[str, Any]:
    """A spec of so many bytes."""
    empty = {"systemPrompt": ""}
    return {"systemPrompt": "x" * (size - len(json.dumps(empty)))}


NOTES = {"a": "x" * 65_536}
LABELLED = {f"n{number}": "" for number in range(65)}
SKILLED = {"systemPrompt": "x", "skills": [f"s{number}" for number in range(501)]}
TOO_MUCH: dict[str, tuple[dict[str, Any], str]] = {
    "spec": (document("Ghost", "x", _large(256 * 1024 + 1)), "spec"),
    "bots": (document("Team", "x", {"bots": [f"b{number}" for number in range(501)]}), "spec"),
    "skills": (document("Ghost", "x", SKILLED), "spec"),
    "annotations": (document("Ghost", "x", SPECS["ghosts"], annotations=NOTES), "metadata.annotations"),
    "labels": (document("Ghost", "x", SPECS["ghosts"], labels=LABELLED), "metadata.labels"),
}


async def test_too_much_of_it(catalog: Catalog, subtests: pytest.Subtests) -> None:
    for what, (wrong, field) in TOO_MUCH.items():
        with subtests.test(what):
            plural = f"{wrong['kind'].lower()}s"
            alone = refused(await send(catalog, "POST", plural, wrong))
            applied = refused(await catalog.apply(GOOD + yaml.safe_dump(wrong)))
            await catalog.get("ghosts/good", 404)
            await catalog.get(f"{plural}/x", 404)
            assert [error["field"] for error in alone] == [field]
            assert [(error["document"], error["field"]) for error in applied] == [(2, field)]
            assert applied[0]["line"] > BEFORE


async def test_as_much_as_is_allowed(catalog: Catalog) -> None:
    whole = document("Ghost", "x", _large(256 * 1024), labels={f"n{n}": "" for n in range(64)})
    assert (await send(catalog, "POST", "ghosts", whole)).status_code == 201
    answer = await catalog.apply(yaml.safe_dump(whole))
    assert [item["action"] for item in answer.json()["items"]] == ["unchanged"]


async def test_a_limit_of_bytes_counts_bytes(catalog: Catalog) -> None:
    """Other writings than the Latin one have as much room."""
    chinese = document("Ghost", "zh", {"systemPrompt": "你" * 80_000})
    assert len(json.dumps(chinese, ensure_ascii=False).encode()) < 240 * 1024
    taken = await catalog.apply(yaml.safe_dump(chinese, allow_unicode=True))
    assert taken.status_code == 200, taken.text


async def test_more_keys_than_the_store_takes_at_once(catalog: Catalog) -> None:
    keys = {f"KEY_{number}": "v" * 20 for number in range(3000)}
    wrong = document("Ghost", "x", SPECS["ghosts"] | {"env": keys})
    for answer in (
        await send(catalog, "POST", "ghosts", wrong),
        await catalog.apply(GOOD + yaml.safe_dump(wrong)),
    ):
        assert answer.status_code == 422
        await catalog.get("ghosts/good", 404)
        await catalog.get("ghosts/x", 404)
    assert [error["document"] for error in answer.json().get("errors", [])] == [2], answer.text


MANY_FLAWS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "items": ("POST", "skills", {"description": "x", "tags": [1] * 80_000}),
    "masks": ("POST", "shells", {"type": "x", "env": ["***"] * 30_000}),
    "masks of what is there": ("PUT", "ghosts/there", {"systemPrompt": "x", "env": ["***"] * 30_000}),
    "items of what is there": ("PATCH", "ghosts/there", {"preload_skills": [1] * 80_000}),
}


async def test_more_flaws_than_an_answer_can_hold(catalog: Catalog, subtests: pytest.Subtests) -> None:
    await catalog.create("ghosts", "there")
    for what, (method, path, spec) in MANY_FLAWS.items():
        with subtests.test(what):
            errors = refused(await send(catalog, method, path, {"spec": spec, "metadata": {"name": "there"}}))
            assert 1 <= len(errors) <= 1000
    with subtests.test("labels"):
        labels = {f"n{number}": number for number in range(20_000)}
        body = document("Ghost", "x", SPECS["ghosts"], labels=labels)
        assert 1 <= len(refused(await send(catalog, "POST", "ghosts", body))) <= 1000
    assert (await catalog.get("ghosts/there"))["metadata"]["generation"] == 1


async def test_more_missing_references_than_an_answer_can_hold(catalog: Catalog) -> None:
    members = [{"botRef": {"name": f"b{n}"}} for n in range(500)]
    teams = [document("Team", f"t{n}", {"members": members, "collaborationModel": "solo"}) for n in range(60)]
    text = json.dumps(teams, separators=(",", ":"))
    assert len(text) < MIB
    errors = refused(await catalog.apply(text))
    assert errors[0]["field"] == "spec.members.0.botRef"
    assert (errors[0]["document"], errors[0]["line"]) == (1, 1)


# -- characters that cannot be kept ----------------------------------------------------------------------

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


# -- for everybody else ----------------------------------------------------------------------------------


@dataclass
class Poured:
    """How far somebody came who sends without end, and what they were told."""

    status: bytes = b""
    when_answered: int = 0
    sent: int = 0


async def pour(address: str, path: str, headers: dict[str, str], total: int) -> Poured:
    """Sends until there is an answer, and then goes on as if there was none."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    poured = Poured()
    lines = [f"POST {path} HTTP/1.1", f"host: {address}", *(f"{n}: {v}" for n, v in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    chunked = "transfer-encoding" in headers
    chunk = b"# " + b"x" * 65_533 + b"\n"
    piece = b"%x\r\n%s\r\n" % (len(chunk), chunk) if chunked else chunk
    answer = asyncio.create_task(reader.readline())
    try:
        while poured.sent < total:
            writer.write(piece)
            poured.sent += len(chunk)
            await asyncio.wait_for(writer.drain(), 10)
            await asyncio.sleep(0)
            if not answer.done():
                poured.when_answered = poured.sent
    except (ConnectionError, TimeoutError):
        pass  # nobody listens any more
    try:
        poured.status = await asyncio.wait_for(answer, 10)
    except ConnectionError:
        poured.status = b"reset"
    writer.close()
    return poured


@pytest.mark.parametrize("declared", [True, False], ids=["with-its-length", "in-chunks"])
@pytest.mark.parametrize("path", ["/api/v1/apply", f"{KINDS}/ghosts"], ids=["apply", "kinds"])
async def test_a_hundred_megabytes_are_not_read(
    installation: Installation, path: str, declared: bool
) -> None:
    async with (
        installation.running_auth(),
        running(installation.catalog()),
        installation.served_gateway() as (http, address),
    ):
        me = await http.sign_up()
        total = 100 * MIB
        length = {"content-length": str(total)} if declared else {"transfer-encoding": "chunked"}
        process = psutil.Process()
        before = process.memory_info().rss
        peak = [before]
        measuring = asyncio.create_task(_watch(process, peak))
        poured = await pour(address, path, me | JSON | length, total)
        measuring.cancel()
        print(
            f"{path}: told after {poured.when_answered // 1024} KiB, sent {poured.sent // 1024} KiB, ", end=""
        )
        print(f"{(peak[0] - before) // 1024} KiB more memory")
        assert b" 413 " in poured.status, poured.status
        assert poured.when_answered < 8 * MIB
        assert peak[0] - before < 32 * MIB
        assert (await http.get("/api/v1/auth/me", headers=me)).status_code == 200


async def _watch(process: psutil.Process, peak: list[int]) -> None:
    while True:
        peak[0] = max(peak[0], process.memory_info().rss)
        await asyncio.sleep(0.005)


def _many_nodes() -> str:
    return HEAD + f"  a: [{','.join(['1'] * 190_000)}]\n"


def _many_documents() -> str:
    keys = ",".join(f"k{number:x}: {{a: [1, 2.5, text]}}" for number in range(3000))
    return "---\n".join(HEAD.replace("bad", f"n{n}") + f"  a: {{{keys}}}\n" for n in range(9))


def _many_references() -> str:
    """Wide specs, each with as many references as it may have to a namespace that has to be written out."""
    head = HEAD.replace("Ghost", "Team").replace("  systemPrompt: x\n", "  collaborationModel: solo\n")
    members = f"  members: [&m {{botRef: {{name: b, namespace: default}}}}{', *m' * 499}]\n"
    wide = "".join(f"  k{number:x}: 1\n" for number in range(18_500))
    return "---\n".join(head.replace("bad", f"t{number}") + members + wide for number in range(4))


def _many_keys() -> str:
    keys = ",".join(f"K{number:x}_KEY: v" for number in range(60))
    return "---\n".join(HEAD.replace("bad", f"k{n}") + f"  env: {{{keys}}}\n" for n in range(900))


WORST: dict[str, Callable[[], str]] = {
    "nodes": _many_nodes,
    "documents": _many_documents,
    "references": _many_references,
    "keys": _many_keys,
    "laughs": lambda: GOOD + HEAD + _laughs(),
}


@pytest.mark.timeout(300)
@pytest.mark.fresh
async def test_others_are_answered_meanwhile(
    installation: Installation, tmp_path: Path, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the catalog in a process of its own, as it always is: its worst moment is all that counts."""
    monkeypatch.setattr(Apply, "patience", 120.0)  # how long it takes by itself is not what this is about
    log = tmp_path / "catalog.log"
    own = process(installation, "catalog", log)
    await own.start()
    try:
        async with installation.running_auth(), installation.gateway() as http:
            catalog = Catalog(http, installation.catalog(), await http.sign_up("developer"))
            await catalog.create("ghosts", "probe")
            for name, text_of in WORST.items():
                with subtests.test(name):
                    await _measured(catalog, name, text_of())
    finally:
        await own.stop()
    assert "Traceback" not in log.read_text()


async def _measured(catalog: Catalog, name: str, text: str) -> None:
    """Nobody waits for a quarter of it; were it read in their way, they would wait for most of it."""
    assert len(text) <= MIB
    control = await pace(lambda: catalog.get("ghosts/probe"))
    took: list[float] = []
    applying = asyncio.create_task(catalog.apply(text))
    started = time.perf_counter()
    while not applying.done():
        asked = time.perf_counter()
        assert (await catalog.get("ghosts/probe"))["metadata"]["name"] == "probe"
        took.append(time.perf_counter() - asked)
    answer = await applying
    seconds = time.perf_counter() - started
    print(f"{name}: {len(text) // 1024} KiB, {seconds:.2f} s, {answer.status_code}, ", end="")
    print(f"{len(took)} others, the slowest in {max(took):.3f} s, without it {control:.3f} s")
    assert answer.status_code in (200, 422), answer.text[:500]
    assert max(took) < seconds / 4 + 4 * control
