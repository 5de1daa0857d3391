"""Every value of a document knows its line, and what aliases bring that of its anchor."""

from signalbox_manifests.testing import one


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
