"""Text becomes documents, with the values of YAML 1.2."""

import json
from typing import Any

import pytest
import yaml

from signalbox_manifests import read
from signalbox_manifests.testing import contents, one


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("nUll", "nUll"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("12", 12),
        ("+12", 12),
        ("-12", -12),
        ("0777", 777),
        ("09", 9),
        ("0o17", 15),
        ("0x1F", 31),
        ("0o8", "0o8"),
        ("-0x1F", "-0x1F"),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1.5E-3", 0.0015),
        (".", "."),
        ("1.2.3", "1.2.3"),
        ("1e", "1e"),
        ("9223372036854775807", 9223372036854775807),
        ("-9223372036854775808", -9223372036854775808),
        ("'12'", "12"),
        ('"true"', "true"),
        ("''", ""),
        ("! 12", "12"),
        ("!!str 12", "12"),
        ("!!str", ""),
        ("!!str null", "null"),
        ("!!int '12'", 12),
        ("!!float 12", 12.0),
        ("!!bool 'true'", True),
        ("!!null ''", None),
        ("!!map {}", {}),
        ("!!seq []", []),
        ("!<tag:yaml.org,2002:int> 12", 12),
        ("|\n  b\n  c\n", "b\nc\n"),
        (">-\n  b\n  c\n", "b c"),
    ],
)
def test_scalars_follow_the_core_schema(written: str, value: Any) -> None:
    found = one(f"a: {written}").content["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("written", "name"),
    [("1", "1"), ("0x10", "0x10"), ("true", "true"), ("1.0", "1.0"), (".nan", ".nan"), ("'null'", "null")],
)
def test_keys_are_texts_as_they_are_written(written: str, name: str) -> None:
    assert one(f"{written}: x").content == {name: "x"}


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n---\n# more\n---\n", "\ufeff", "[]"])
def test_what_is_empty_is_no_document(text: str) -> None:
    assert contents(text) == []


def test_empty_documents_do_not_count() -> None:
    found = read(b"# first\n---\n---\na: 1\n---\n# none\n---\nb: 2\n...\n---\nc: 3\n")
    assert [(document.number, document.content) for document in found] == [
        (1, {"a": 1}),
        (2, {"b": 2}),
        (3, {"c": 3}),
    ]


def test_json_values_may_follow_each_other() -> None:
    found = read(b'{"a": 1}\n\n{"b":\t[1,\r\n\t2]}{"c": {}}')
    assert [(d.number, d.content, d.lines[()]) for d in found] == [
        (1, {"a": 1}, 1),
        (2, {"b": [1, 2]}, 3),
        (3, {"c": {}}, 4),
    ]
    assert found[1].line_of(("b", 1)) == 4


@pytest.mark.parametrize(
    "text",
    [
        "{a: 1, b: [x, y]}",
        '{"a": 1, "b": [x, y],}',
        "{'a': 1, # why\n 'b': [x, y]}",
        '{"a": 1, "b": ["x", y]}\n---\n',
    ],
)
def test_what_only_looks_like_json_is_read_as_yaml(text: str) -> None:
    assert contents(text) == [{"a": 1, "b": ["x", "y"]}]


def test_json_documents_may_stand_between_those_of_yaml() -> None:
    assert contents('{"a": 1}\n---\nb: 2\n---\n{"c": 3}\n') == [{"a": 1}, {"b": 2}, {"c": 3}]


def test_a_byte_order_mark_is_allowed() -> None:
    assert read(b"\xef\xbb\xbfa: 1")[0].content == {"a": 1}
    assert read(b'\xef\xbb\xbf{"a": 1}')[0].content == {"a": 1}


def test_a_list_at_the_top_is_many_documents() -> None:
    found = read(b"- a: 1\n  b: 2\n# more\n-\n  c:\n  - 3\n---\nd: 4\n")
    assert [(d.number, d.content) for d in found] == [(1, {"a": 1, "b": 2}), (2, {"c": [3]}), (3, {"d": 4})]
    assert dict(found[0].lines) == {(): 1, ("a",): 1, ("b",): 2}
    assert dict(found[1].lines) == {(): 5, ("c",): 5, ("c", 0): 6}


def test_a_list_of_kubectl_is_many_documents() -> None:
    listed = {
        "kind": "List",
        "apiVersion": "v1",
        "items": [{"a": 1}, {"kind": "List", "items": [{"b": [2]}]}],
    }
    found = read(json.dumps(listed, indent=1).encode())
    assert [(d.number, d.content) for d in found] == [(1, {"a": 1}), (2, {"b": [2]})]
    assert dict(found[0].lines) == {(): 5, ("a",): 6}
    assert found[1].line_of(("b", 0)) == 13
    assert [d.content for d in read(yaml.safe_dump(listed).encode())] == [{"a": 1}, {"b": [2]}]


def test_a_list_without_items_stays_what_it_is() -> None:
    assert contents("kind: List\nitems: none\n") == [{"kind": "List", "items": "none"}]
    assert contents("kind: List\n") == [{"kind": "List"}]
    assert contents("kind: Lists\nitems: []\n") == [{"kind": "Lists", "items": []}]
