"""Text from anybody becomes documents that know their lines, or flaws that say where."""

import json
import re
import time
import tracemalloc
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from signalbox_catalog.domain import documents
from signalbox_catalog.domain.documents import Document, read
from signalbox_catalog.errors import Flaw, Flawed

MIB = 1024 * 1024


def one(text: str) -> Document:
    (document,) = read(text.encode())
    return document


def contents(text: str) -> list[Any]:
    return [document.content for document in read(text.encode())]


def flaws(text: str | bytes) -> list[Flaw]:
    with pytest.raises(Flawed) as caught:
        read(text if isinstance(text, bytes) else text.encode())
    return list(caught.value.flaws)


def flaw(text: str | bytes) -> Flaw:
    (found,) = flaws(text)
    assert found.message.endswith(".")
    return found


def where(found: Flaw) -> tuple[str, str, int | None, int | None]:
    return found.code, found.field, found.document, found.line


# What is read


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


# Lines


def test_lines_of_block_style() -> None:
    text = """\
# a comment
---
kind: Bot   # 3
metadata:
  name: x

  "labels": {a: b,
    c: d}
spec:
- one
-   # the item begins below
  two: |
    text
    more
  three:
-
- - 4
last: 1
"""
    assert dict(one(text).lines) == {
        (): 3,
        ("kind",): 3,
        ("metadata",): 4,
        ("metadata", "name"): 5,
        ("metadata", "labels"): 7,
        ("metadata", "labels", "a"): 7,
        ("metadata", "labels", "c"): 8,
        ("spec",): 9,
        ("spec", 0): 10,
        ("spec", 1): 12,
        ("spec", 1, "two"): 12,
        ("spec", 1, "three"): 15,
        ("spec", 2): 16,
        ("spec", 3): 17,
        ("spec", 3, 0): 17,
        ("last",): 18,
    }


def test_lines_of_flow_style_and_of_json() -> None:
    lines = {(): 2, ("a",): 3, ("b",): 4, ("b", 0): 5, ("b", 1): 5, ("b", 1, "c"): 6, ("d",): 8}
    text = '\n{\n\t"a":\n1,"b"\t:\n[1,{\n"c": []}\n]\n,"d": {}}'
    assert dict(one(text).lines) == lines
    assert dict(one(text.replace('"', "")).lines) == lines
    assert dict(one(text.replace("\n", "\r\n")).lines) == lines
    assert dict(one(text.replace("\n", "\r")).lines) == lines


def test_other_separators_do_not_count_as_lines() -> None:
    assert one("a: 'x\u2028y\x85z'\nb: 1\n").line_of(("b",)) == 2
    assert one('{"a": "x\u2028y\x85z",\n"b": 1}').line_of(("b",)) == 2


def test_the_line_of_something_missing_is_that_of_what_is_around() -> None:
    document = one("\na:\n  b:\n  - c: 1\n")
    assert document.line_of(("a", "b", 0, "c", "no")) == 4
    assert document.line_of(("a", "b", 7, "c")) == 3
    assert document.line_of(("a", "x")) == 2
    assert document.line_of(("x",)) == 2
    assert len(document.lines) == 5
    assert ("a", "b", 1) not in document.lines


def test_what_an_alias_brings_has_the_lines_of_its_anchor() -> None:
    document = one("a: &x\n  b: 1\nc:\n- *x\n<<: *x\n")
    assert document.content == {"a": {"b": 1}, "c": [{"b": 1}], "b": 1}
    assert dict(document.lines) == {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("c",): 3,
        ("c", 0): 4,
        ("c", 0, "b"): 2,
        ("b",): 2,
    }


# Aliases and merges


def test_aliases_are_copies() -> None:
    found = one("a: &x {b: [1]}\nc: *x\n").content
    found["c"]["b"].append(2)
    assert found == {"a": {"b": [1]}, "c": {"b": [1, 2]}}


def test_aliases_may_be_keys_and_scalars_and_an_anchor_may_move() -> None:
    document = one("a: &x 0x10\n*x : *x\nb: &y [*x, &y c, *y]\nd: *y\n&k e: *k\n")
    assert document.content == {"a": 16, "0x10": 16, "b": [16, "c", "c"], "d": "c", "e": "e"}


def test_merged_keys_yield_to_own_ones_and_to_earlier_ones() -> None:
    text = """\
x: &x {a: x, b: x}
y: &y {b: y, c: y}
one:
  <<: *x
  b: own
many:
  c: own
  <<: [*y, *x, {d: inline}]
deep:
  <<: {<<: *x, e: 1}
"""
    document = one(text)
    assert document.content["one"] == {"a": "x", "b": "own"}
    assert document.content["many"] == {"a": "x", "b": "y", "c": "own", "d": "inline"}
    assert document.content["deep"] == {"a": "x", "b": "x", "e": 1}
    assert document.line_of(("many", "b")) == 2
    assert document.line_of(("one", "b")) == 5


def test_a_quoted_merge_key_is_a_key() -> None:
    assert one("'<<': {a: 1}").content == {"<<": {"a": 1}}
    assert one('{"<<": {"a": 1}}').content == {"<<": {"a": 1}}


# Flaws


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # keys
        ("a: 1\n---\nb:\n  c: 1\n  d: 2\n  c: 3\n", ("duplicate_key", "b.c", 2, 6)),
        ('{"a":1}\n{"b": [{"c": 1,\n"c": 2}]}', ("duplicate_key", "b.0.c", 2, 3)),
        ("1: x\n'1': y\n", ("duplicate_key", "1", 1, 2)),
        ("x: &x {a: 1}\n<<: *x\n<<: *x\n", ("duplicate_key", "<<", 1, 3)),
        ("a: 1\n? [b]\n: c\n", ("bad_key", "?", 1, 2)),
        ("a: {{ b }}\n", ("bad_key", "a.?", 1, 1)),
        ("a: &a [b]\n*a : c\n", ("bad_key", "?", 1, 2)),
        ("a:\n  ~: b\n", ("bad_key", "a.", 1, 2)),
        ("null: b\n", ("bad_key", "", 1, 1)),
        ("'': {b: 1}\n", ("bad_key", "", 1, 1)),
        ("!!null ~: b\n", ("bad_key", "", 1, 1)),
        ('{"": 1}', ("bad_key", "", 1, 1)),
        ("<<: {a: 1}\n<<: {b: 1}\n", ("duplicate_key", "<<", 1, 2)),
        ("a: 1\n<<: 2\nb: 3\n", ("bad_merge", "<<", 1, 2)),
        ("a: &a {b: 1}\nc:\n  <<: [*a, d]\n", ("bad_merge", "c.<<", 1, 3)),
        # tags
        ("a:\n- !!python/object:os.system x\n", ("unknown_tag", "a.0", 1, 2)),
        ("a: !foo {}\n", ("unknown_tag", "a", 1, 1)),
        ("- a: 1\n- b: !foo c\n", ("unknown_tag", "b", 2, 2)),
        ("kind: List\nitems:\n- a: 1\n- b: [!foo c]\n", ("unknown_tag", "b.0", 2, 4)),
        ("a: !<int> 3\n", ("unknown_tag", "a", 1, 1)),
        ("a: !!binary aGk=\n", ("unknown_tag", "a", 1, 1)),
        ("a: !!timestamp 2024-01-01\n", ("unknown_tag", "a", 1, 1)),
        ("a: !!set {b}\n", ("unknown_tag", "a", 1, 1)),
        ("!foo a: b\n", ("unknown_tag", "a", 1, 1)),
        ("%TAG ! tag:example.org,2000:\n---\na: !foo b\n", ("unknown_tag", "a", 1, 3)),
        ("a: !!int b\n", ("wrong_tag", "a", 1, 1)),
        ("a: !!int 1.5\n", ("wrong_tag", "a", 1, 1)),
        ("a: !!int true\n", ("wrong_tag", "a", 1, 1)),
        ("a: !!float true\n", ("wrong_tag", "a", 1, 1)),
        ("a: !!bool 1\n", ("wrong_tag", "a", 1, 1)),
        ("a: !!null b\n", ("wrong_tag", "a", 1, 1)),
        ("a: !!map b\n", ("wrong_tag", "a", 1, 1)),
        ("a: !!map []\n", ("wrong_tag", "a", 1, 1)),
        ("a: !!seq {}\n", ("wrong_tag", "a", 1, 1)),
        ("a: !!str []\n", ("wrong_tag", "a", 1, 1)),
        # numbers
        ("a: .inf\n", ("bad_number", "a", 1, 1)),
        ("a: -.INF\n", ("bad_number", "a", 1, 1)),
        ("a: .NaN\n", ("bad_number", "a", 1, 1)),
        ("a: !!float .inf\n", ("bad_number", "a", 1, 1)),
        ("a: 1e999\n", ("bad_number", "a", 1, 1)),
        ("a: 9223372036854775808\n", ("bad_number", "a", 1, 1)),
        ("a: -9223372036854775809\n", ("bad_number", "a", 1, 1)),
        (f"a: {'9' * 5000}\n", ("bad_number", "a", 1, 1)),
        (f"a: 0.{'9' * 5000}\n", ("bad_number", "a", 1, 1)),
        ('{"a": [1,\nNaN]}', ("bad_number", "a.1", 1, 2)),
        ('{"a": Infinity}', ("bad_number", "a", 1, 1)),
        ('{"a": -Infinity}', ("bad_number", "a", 1, 1)),
        ('{"a": 1e999}', ("bad_number", "a", 1, 1)),
        ('{"a": %s}' % ("9" * 5000), ("bad_number", "a", 1, 1)),
        # aliases
        ("a: 1\nb: *c\n", ("unknown_alias", "b", 1, 2)),
        ("a: &x 1\n---\nb: *x\n", ("unknown_alias", "b", 2, 3)),
        ("a: 1\n*b : 2\n", ("unknown_alias", "*b", 1, 2)),
        ("a: &x\n  b:\n  - *x\n", ("cycle", "a.b.0", 1, 3)),
        ("a: &a [*a\n]", ("cycle", "a.0", 1, 1)),
        # kinds of documents
        ("a: 1\n---\nb\n", ("not_a_mapping", "", 2, 3)),
        ("---\nnull\n", ("not_a_mapping", "", 1, 2)),
        ("- a: 1\n- 2\n", ("not_a_mapping", "", 2, 2)),
        ("- a: 1\n- - b: 2\n", ("not_a_mapping", "", 2, 2)),
        ("[[]]", ("not_a_mapping", "", 1, 1)),
        ('{"a": 1}\n"b"', ("not_a_mapping", "", 2, 2)),
        ("kind: List\nitems:\n- a: 1\n- 2\n", ("not_a_mapping", "", 2, 4)),
        # text
        (b"a: 1\nb: \xff\n", ("not_utf8", "", None, 2)),
        (b"\xef\xbb\xbfa: 1\nb: \xc3", ("not_utf8", "", None, 2)),
        ("a: 1".encode("utf-16"), ("not_utf8", "", None, 1)),
        ("a: 1".encode("utf-16-le"), ("not_text", "", None, 1)),
        (b"a: 1\nb: \x00\n", ("not_text", "", None, 2)),
        (b'{"a": 1,\n"b": "\x07"}', ("not_text", "", None, 2)),
        (b"\x7fELF\x02\x01\x01", ("not_text", "", None, 1)),
        ("a: \x9b\n", ("not_text", "", None, 1)),
        ('a: "\\0"\n', ("not_text", "a", 1, 1)),
        ('{"a": ["\\u0000"]}', ("not_text", "a.0", 1, 1)),
        ('{"a":\n{"b": "\\ud800"}}', ("not_text", "a.b", 1, 2)),
        ('{"a": "\\udc00\\ud800"}', ("not_text", "a", 1, 1)),
        ('{"\\ud800": 1}', ("not_text", "\N{REPLACEMENT CHARACTER}", 1, 1)),
        # syntax
        ("a: 1\n---\nb: c: d\n", ("bad_yaml", "", 2, 3)),
        ("a: 1\nfoo\nbar: 2\n", ("bad_yaml", "", 1, 2)),
        ("a: [1,\n2\n\n\n", ("bad_yaml", "", 1, 2)),
        ('a: "\\ud800"\n', ("bad_yaml", "", 1, 1)),
        ("a: !e!x 1\n", ("bad_yaml", "", 1, 1)),
        ("{a: 1,\nb: ]}\n", ("bad_yaml", "", 1, 2)),
        ("- a: 1\n- b: [\n- c: 1\n", ("bad_yaml", "", 2, 3)),
        ("kind: List\nitems:\n- a: 1\n- b: c: d\n", ("bad_yaml", "", 2, 4)),
        ('{"a": 1,\n"b" 2}', ("bad_json", "", 1, 2)),
        ('{"a": 1}{"b": 2\n"c": 3}', ("bad_json", "", 2, 2)),
        ('{"a": 1\n', ("bad_json", "", 1, 1)),
        ('{"a": "x\n\n', ("bad_json", "", 1, 1)),
        ('[{"a": 1},\n{"a": "\\x"]', ("bad_json", "", 2, 2)),
        ('{"a": 1}\n}', ("bad_yaml", "", 2, 2)),
    ],
)
def test_flaws_say_where(text: str | bytes, expected: tuple[str, str, int | None, int | None]) -> None:
    assert where(flaw(text)) == expected


def test_a_duplicate_names_its_key_and_both_lines() -> None:
    message = "The key `b` stands twice in this mapping, on line 2 and on line 4."
    assert flaw("a: 1\nb: 2\nc: 3\nb: 4\n").message == message
    assert flaw('{"a": 1,\n"b": 2, "c":\n3,\n"b": 4}').message == message


@pytest.mark.parametrize(
    "text", ["a:\n\tb: 1\n", "a: 1\n\tb: 2\n", "a:\n  b: x\n\tc: 2\n", "a: 1\n---\n\t\n"]
)
def test_tabs_as_indentation_are_named(text: str) -> None:
    found = flaw(text)
    assert found.message == "Tabs may not be used for indentation in YAML; use spaces."
    assert (found.code, found.line) == ("bad_yaml", text.count("\n", 0, text.index("\t")) + 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b: c", "mapping values are not allowed"),
        ("a: [1, 2\nb: 3", "that begins on line 1"),
        ('{"a": 1}, {"b": 2}', "the next has to begin with `---`"),
        ('{"a": 1 "b":2}', "a comma or `}`"),
        ('{"a": 1, b: ]}', "a key in double quotes"),
        ('{"a" 1}', "a colon"),
        ('{"a": 1, "b": @}', "a value has to stand"),
        ('{"a": "\\x"}', "invalid \\escape."),
        ('{"a": ["b" "c"]}', "a comma or `]`"),
        ("{a: 1, b: ]}", "YAML"),
        ("a: @b", "cannot start any token"),
        ("a: !!seq {}", "a mapping"),
        ("a: !!map []", "a list"),
        ("a: !!python/name:os.system x", "`!!python/name:os.system`"),
        ("a: 1\nb: *nothing", "`&nothing`"),
        (b"a: \x1b", "U+001B"),
        (b"a: \xfe", "0xfe"),
        ("--- text", "a text"),
        ("--- 1", "a single value"),
        ("--- ~", "empty"),
        ("- []", "a list"),
    ],
)
def test_the_more_helpful_words_are_chosen(text: str | bytes, words: str) -> None:
    assert words in flaw(text).message


def test_flaws_of_many_documents_come_together() -> None:
    found = flaws("a: 1\na: 2\n---\nb: !x 1\n---\nc\n---\n- d: .nan\n- e: 1\n  e: 2\n---\nf: [")
    assert [(flaw.code, flaw.document, flaw.line) for flaw in found] == [
        ("duplicate_key", 1, 2),
        ("unknown_tag", 2, 4),
        ("not_a_mapping", 3, 6),
        ("bad_number", 4, 8),
        ("duplicate_key", 5, 10),
        ("bad_yaml", 6, 12),
    ]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a: *x\nb: *y\n*z : 1\nc: *x\n", ["a", "b", "*z", "c"]),
        ("a: &a [b]\n*a : c\nd: !x e\n", ["?", "d"]),
        ("a: [*x, !y z, [.nan]]\n", ["a.0", "a.1", "a.2.0"]),
        ("? {b: !x c}\n: !x d\ne: !x f\n", ["?", "?.b", "?", "e"]),
        ("a: {b: 1, b: !x 2, c: !x 3}\n", ["a.b", "a.b", "a.c"]),
        ("a: 1\na: !x {b: !x c}\n", ["a", "a", "a.b"]),
    ],
)
def test_after_a_flaw_the_rest_keeps_its_place(text: str, fields: list[str]) -> None:
    assert [flaw.field for flaw in flaws(text)] == fields


def test_after_a_flaw_documents_keep_their_numbers() -> None:
    found = flaws("- *x\n- a: 1\n- b: !c d\n")
    assert {(flaw.code, flaw.document) for flaw in found} >= {("unknown_alias", 1), ("unknown_tag", 3)}


@pytest.mark.parametrize("text", ["a: !x 1\n---\n" * 60, "a\n---\n" * 60, "a: [" + "!x 1," * 60 + "]"])
def test_flaws_end_at_fifty(text: str) -> None:
    assert len(flaws(text)) == documents.MAX_FLAWS == 50


def test_names_in_flaws_are_short_and_harmless() -> None:
    found = flaw(f"? {'k' * 900}\n: 1\n? {'k' * 900}\n: 2\n")
    assert len(found.message) < 200
    assert len(found.field) < 100
    found = flaw('{"\\u001b[2J": 1, "\\u001b[2J": 2}')
    assert "\x1b" not in found.message + found.field


# Limits


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
    assert len(contents(nested(documents.MAX_DEPTH, text))) == 1
    assert flaw(nested(documents.MAX_DEPTH + 1, text)).code == "too_deep"


def test_nesting_by_aliases_has_an_end() -> None:
    def chain(length: int) -> str:
        return "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, length))

    assert len(contents(chain(documents.MAX_DEPTH - 1))) == 1
    assert where(flaw(chain(documents.MAX_DEPTH))) == ("too_deep", "a63.0", 1, 64)
    assert len(contents("x: &x 1\na: " + "[" * 63 + "*x" + "]" * 63)) == 1


def test_documents_have_an_end() -> None:
    most = documents.MAX_DOCUMENTS
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
    items = documents.MAX_NODES - 3
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
def test_a_mebibyte_of_nonsense_is_refused_soon(text: str, code: str) -> None:
    start = time.perf_counter()
    found = flaws(text)
    assert time.perf_counter() - start < 5  # what grows with the square of the text takes minutes
    assert code in {one.code for one in found}


def test_what_is_longer_than_any_document_is_not_even_decoded() -> None:
    assert flaw(b"\xff" * (documents.MAX_BYTES + 1)).code == "too_large"


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
    start = time.perf_counter()
    found = read(text)
    assert time.perf_counter() - start < 2
    assert [document.content for document in found] == sent
    begins = [
        number for number, line in enumerate(text.decode().split("\n"), 1) if line.startswith("apiVersion")
    ]
    assert [document.line_of(()) for document in found] == begins


# Whatever is sent


class Dumper(yaml.SafeDumper):
    """Quotes also what only YAML 1.2 takes for a number."""


Dumper.add_implicit_resolver(
    "tag:example.org,2000:number",
    re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"),
    list("-+.0123456789"),
)

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
KEYS = TEXTS.filter(bool)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.sampled_from(
        ["yes", "1e3", "0o7", "09", "~", "<<", "=", "- a", "a: b", "#", "2024-01-01", " a", "a\n\nb "]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
MAPPINGS = st.dictionaries(KEYS, VALUES, max_size=5).filter(lambda value: value.get("kind") != "List")


def same(found: Any, value: Any) -> bool:
    """Unlike `==`, this tells 1, 1.0 and True apart, and knows an order."""
    return json.dumps(found) == json.dumps(value)


def paths(value: Any, path: documents.Path = ()) -> set[documents.Path]:
    inner: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return {path}.union(*(paths(item, (*path, step)) for step, item in inner))


@settings(deadline=None)
@given(MAPPINGS, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_is_read_as_it_was_written(
    value: dict[str, Any], ascii_only: bool, indent: int | str | None
) -> None:
    document = one(json.dumps(value, ensure_ascii=ascii_only, indent=indent))
    assert same(document.content, value)
    assert set(document.lines) == paths(value)


@settings(deadline=None)
@given(MAPPINGS, st.booleans(), st.sampled_from([True, False, None]))
def test_yaml_is_read_as_it_was_written(
    value: dict[str, Any], allow_unicode: bool, flow: bool | None
) -> None:
    text = yaml.dump(
        value, Dumper=Dumper, allow_unicode=allow_unicode, default_flow_style=flow, sort_keys=False
    )
    assume("\x85" not in text)  # which YAML 1.1, that PyYAML writes, takes for the end of a line
    document = one(text)
    assert same(document.content, value)
    assert set(document.lines) == paths(value)


PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=9)
NESTED = st.recursive(
    PLAIN | st.integers(-9, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(NESTED)
def test_json_stands_on_the_same_lines_when_it_is_read_as_yaml(value: Any) -> None:
    text = json.dumps({"x": value}, indent=1)
    as_json, as_yaml = one(f"\n{text}"), one(f"---\n{text}")
    assert same(as_json.content, as_yaml.content)
    assert dict(as_json.lines) == dict(as_yaml.lines)


BITS = st.lists(
    st.sampled_from(
        [
            *(
                "a",
                "b: ",
                "- ",
                "? ",
                ": ",
                "&a ",
                "*a ",
                "*a",
                "<<: ",
                "<<: *a",
                "{",
                "}",
                "[",
                "]",
                ",",
                '"',
                "'",
            ),
            *(
                "\n",
                "\n  ",
                "\n    ",
                "\r",
                "\t",
                "|\n ",
                ">\n ",
                "# c\n",
                "---\n",
                "...\n",
                "@",
                "%TAG !a! b\n",
            ),
            *(
                "!!str ",
                "!!int ",
                "!!map ",
                "!x ",
                "! ",
                "1",
                "1e9",
                ".inf",
                "null",
                "~",
                "\u2028",
                "\ufeff",
                "\0",
            ),
            *(
                "kind: List\n",
                "items:\n",
                '{"kind":"List",',
                '"items":[',
                '{"a":',
                '"b"',
                "\\u0000",
                "\\ud800",
            ),
        ]
    ),
    max_size=30,
).map("".join)


@settings(deadline=None, max_examples=400)
@given(
    st.one_of(BITS.map(str.encode), st.binary(), st.text().map(lambda text: text.encode("utf-8", "replace")))
)
@example(b"{" * 100_000)
@example(b'{"a":' * 100_000)
def test_anything_is_read_or_flawed(raw: bytes) -> None:
    lines = len(re.findall(rb"\r\n|\r|\n", raw)) + 1
    found, problems = [], []
    try:
        found = read(raw)
    except Flawed as flawed:
        problems = list(flawed.flaws)
    assert len(problems) <= documents.MAX_FLAWS
    assert all(flaw.message and 1 <= (flaw.line or 1) <= lines for flaw in problems)
    assert [document.number for document in found] == list(range(1, len(found) + 1))
    for document in found:
        json.dumps(document.content, allow_nan=False, ensure_ascii=False).encode()
        assert set(document.lines) == paths(document.content)
        assert all(1 <= line <= lines for line in document.lines.values())
