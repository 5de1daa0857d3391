"""What is wrong is said with its place, and as much of it at once as helps."""

import pytest

from signalbox_manifests.limits import MAX_FLAWS
from signalbox_manifests.testing import flaw, flaws, where


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
    assert len(flaws(text)) == MAX_FLAWS == 50


def test_names_in_flaws_are_short_and_harmless() -> None:
    found = flaw(f"? {'k' * 900}\n: 1\n? {'k' * 900}\n: 2\n")
    assert len(found.message) < 200
    assert len(found.field) < 100
    found = flaw('{"\\u001b[2J": 1, "\\u001b[2J": 2}')
    assert "\x1b" not in found.message + found.field
