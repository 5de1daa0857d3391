"""Texts that are no documents."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from signalbox_common.contracts.catalog import Apply
from signalbox_common.contracts.streams import MAX_PAYLOAD
from signalbox_common.testing import eventually
from tests.support.catalog import KINDS, Catalog, catalog_of
from tests.support.factories import document
from tests.support.flawed import BEFORE, GOOD, HEAD, JSON, MIB, laughs, many_nodes, refused
from tests.support.installation import Installation
from tests.support.pace import pace

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
async def catalog(installation: Installation) -> AsyncIterator[Catalog]:
    async with catalog_of(installation) as catalog:
        yield catalog


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
    Case("billion laughs", laughs(), "too_large", 11),
    Case("aliases of a list", f"  a: &a [{'1,' * 2000}]\n  b: [{'*a,' * 2000}]\n", "too_large", 7),
    Case("aliases of a text", f"  a: &a {'x' * 50_000}\n  b: [{'*a,' * 9000}]\n", "too_large", 7),
    Case("aliases in merges", f"  a: &a {{{','.join(f'k{n}: 1' for n in range(2000))}}}\n"
         + "".join(f"  b{n}: {{<<: *a}}\n" for n in range(100)), "too_large", 55),
)  # fmt: skip


async def test_yaml_that_is_none(catalog: Catalog, subtests: pytest.Subtests) -> None:
    dearest = await pace(lambda: catalog.apply(many_nodes()), times=1)
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
    dearest = await pace(lambda: catalog.apply(many_nodes()), times=1)
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
