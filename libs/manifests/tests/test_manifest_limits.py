"""Text from anybody is stopped before it grows, and soon."""

import time
import tracemalloc
from collections.abc import Callable
from typing import TypeVar

import pytest
import yaml

from signalbox_manifests import read
from signalbox_manifests.limits import MAX_BYTES, MAX_DEPTH, MAX_DOCUMENTS, MAX_NODES
from signalbox_manifests.testing import contents, flaw, flaws, one, where

T = TypeVar("T")

MIB = 1024 * 1024


def nested(depth: int, text: str) -> str:
    return {
        "json": '{"a":' * depth + "1" + "}" * depth,
        "flow": "{a: " * depth + "1" + "}" * depth,
        "block": "".join(f"{' ' * level}a:\n" for level in range(depth)),
        "dashes": "a:\n" + "- " * (depth - 1) + "1",
        "array": '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}",
    }[text]


@pytest.mark.parametrize("text", ["json", "flow", "block", "dashes", "array"])
def test_nesting_has_an_end(text: str) -> None:
    assert len(contents(nested(MAX_DEPTH, text))) == 1
    assert flaw(nested(MAX_DEPTH + 1, text)).code == "too_deep"


def test_nesting_by_aliases_has_an_end() -> None:
    def chain(length: int) -> str:
        return "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, length))

    assert len(contents(chain(MAX_DEPTH - 1))) == 1
    assert where(flaw(chain(MAX_DEPTH))) == ("too_deep", "a63.0", 1, 64)
    assert len(contents("x: &x 1\na: " + "[" * 63 + "*x" + "]" * 63)) == 1


def test_documents_have_an_end() -> None:
    most = MAX_DOCUMENTS
    assert len(read(b"a: 1\n---\n" * most)) == most
    assert len(read(b'{"a": 1}' * most)) == most
    # What follows the one too many is broken, but not read any more.
    assert where(flaw("a: 1\n---\n" * (most + 1) + "]")) == ("too_many_documents", "", 1001, 2001)
    assert where(flaw("- a: 1\n" * (most + 1) + "]")) == ("too_many_documents", "", 1001, 1001)
    assert where(flaw('{"a": 1}\n' * (most + 1) + "]")) == ("too_many_documents", "", 1001, 1001)
    found = flaws("- a: !x 1\n" + "- a: 1\n" * most)
    assert [(flaw.code, flaw.document) for flaw in found] == [
        ("unknown_tag", 1),
        ("too_many_documents", 1001),
    ]
    listed = "b: 1\n---\nkind: List\nitems:\n"
    assert len(read((listed + "- a: 1\n" * (most - 1)).encode())) == most
    assert where(flaw(listed + "- a: 1\n" * most)) == ("too_many_documents", "", 1001, 1004)


def test_nodes_have_an_end() -> None:
    items = MAX_NODES - 3
    for text in ("a: [" + "1," * items + "]", '{"a": [' + ",".join("1" * items) + "]}"):
        assert len(one(text).content["a"]) == items
    for text in ("a: [" + "1," * (items + 1) + "]", '{"a": [' + ",".join("1" * (items + 1)) + "]}"):
        found = flaw(text)
        assert where(found) == ("too_large", f"a.{items}", 1, 1)
        assert "alias" not in found.message


def laughs(width: int, levels: int) -> str:
    lines = ["a0: &a0 [" + ",".join("x" * width) + "]"]
    lines += [f"a{n}: &a{n} [" + ",".join([f"*a{n - 1}"] * width) + "]" for n in range(1, levels)]
    return "\n".join(lines)


BOMBS = {
    "billion laughs": laughs(10, 10),
    "wide laughs": laughs(400, 4),
    "mappings": "a0: &a0 {x: 1, y: 1}\n"
    + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 40)),
    "merges": "a0: &a0 {k0: ["
    + "1," * 999
    + "]}\n"
    + "".join(f"a{n}: &a{n} {{<<: *a{n - 1}, k{n}: *a{n - 1}}}\n" for n in range(1, 30)),
    "quadratic": "a: &a [" + "x," * 60_000 + "]\nb: [" + "*a," * 60_000 + "]\n",
    "long text": "a: &a " + "x" * 500_000 + "\nb: [" + "*a," * 30 + "]\n",
    "long key": "a: &a {? " + "x" * 500_000 + "}\nb: [" + "*a," * 30 + "]\n",
    "long wide text": "a: &a " + "\N{BLACK STAR}" * 170_000 + "\nb: [" + "*a," * 30 + "]\n",
    "scalars": "a: &a x\nb: [" + "*a," * 250_000 + "]\n",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_stopped_before_they_grow(name: str) -> None:
    text = BOMBS[name].encode()
    assert len(text) <= MIB
    tracemalloc.start()
    try:
        found = flaw(text)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.code == "too_large"
    assert "a bomb of anchors and aliases was stopped" in found.message
    assert ("bytes" if "long" in name else "nodes") in found.message
    assert peak < 120 * MIB


def test_honest_aliases_are_no_bomb() -> None:
    assert len(one("a: &a [" + "x," * 1000 + "]\nb: [" + "*a," * 190 + "]\n").content["b"]) == 190


@pytest.fixture(scope="module")
def honest() -> float:
    """Seconds of the processor for as many nodes as are allowed, with nothing wrong."""
    text = ("a: [" + "[]," * (MAX_NODES - 3) + "]").encode()
    start = time.process_time()
    read(text)
    return time.process_time() - start


def repeated(text: str) -> str:
    return text * (MIB // len(text))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (repeated("["), "too_deep"),
        (repeated('{"a":'), "too_deep"),
        (repeated("{a: "), "too_deep"),
        (repeated("- "), "too_deep"),
        (repeated("? "), "bad_key"),
        (repeated("[\n"), "too_deep"),
        (repeated("a: &a [*a "), "bad_yaml"),
        ("a:\n" + repeated("- &a [*a]\n"), "cycle"),
        ("a:\n" + repeated("- *a\n"), "unknown_alias"),
        (repeated("a: 1\n"), "duplicate_key"),
        (repeated("<<: 1\n"), "duplicate_key"),
        ("a:\n" + repeated("- !x\n"), "unknown_tag"),
        ("a:\n" + repeated("-\n"), "too_large"),
        ("a: [" + repeated("[],"), "too_large"),
        ('{"a": [' + repeated("[],"), "too_large"),
        ('{"a": "' + repeated("\\u0061"), "bad_json"),
        ('{"a": ' + repeated("9"), "bad_json"),
        ("a: " + repeated("9"), "bad_number"),
        (repeated("-\n"), "too_many_documents"),
        (repeated("%TAG !a! b\n"), "too_large"),
        (repeated("\t"), "bad_yaml"),
        (repeated("\x00"), "not_text"),
        (repeated("k"), "not_a_mapping"),
        ("a: '" + repeated("\n"), "bad_yaml"),
        ("a: |\n" + repeated(" \n") + "b", "bad_yaml"),
    ],
)
def test_a_mebibyte_of_nonsense_is_refused_soon(text: str, code: str, honest: float) -> None:
    start = time.process_time()
    found = flaws(text)
    took = time.process_time() - start
    assert code in {one.code for one in found}
    assert took < 3 * honest  # what grows with the square of the text takes a hundred times as long


def test_what_is_longer_than_any_document_is_not_even_decoded() -> None:
    assert flaw(b"\xff" * (MAX_BYTES + 1)).code == "too_large"


def quickest(step: Callable[[], T]) -> tuple[T, float]:
    """What it gives, and its CPU seconds without what the process did besides, such as collecting garbage."""
    took = []
    for _ in range(5):
        start = time.process_time()
        given = step()
        took.append(time.process_time() - start)
    return given, min(took)


def test_five_hundred_documents_are_read_at_once() -> None:
    sent = [
        {
            "apiVersion": "signalbox.dev/v1",
            "kind": "Bot",
            "metadata": {"name": f"bot-{number}", "labels": {"team": "core", "tier": str(number % 3)}},
            "spec": {
                "model": "m",
                "replicas": number,
                "prompt": "You help.\nAlways.\n",
                "tools": ["git", "sh"],
            },
        }
        for number in range(500)
    ]
    text = yaml.safe_dump_all(sent, sort_keys=False).encode()
    parsed, by_the_parser = quickest(lambda: sum(1 for _ in yaml.parse(text, Loader=yaml.CSafeLoader)))
    found, took = quickest(lambda: read(text))
    assert took < 5 * by_the_parser
    assert parsed > len(found)
    assert [document.content for document in found] == sent
    begins = [
        number for number, line in enumerate(text.decode().split("\n"), 1) if line.startswith("apiVersion")
    ]
    assert [document.line_of(()) for document in found] == begins
