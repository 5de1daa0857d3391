"""Whatever is sent: what was written is read, and anything else is refused with its place."""

import json
import re
from typing import Any

import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from signalbox_manifests import Document, Flaw, ManifestError, Path, read
from signalbox_manifests.limits import MAX_FLAWS
from signalbox_manifests.testing import one


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


def paths(value: Any, path: Path = ()) -> set[Path]:
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
    found: list[Document] = []
    problems: list[Flaw] = []
    try:
        found = read(raw)
    except ManifestError as error:
        problems = list(error.flaws)
    assert len(problems) <= MAX_FLAWS
    assert all(flaw.message and 1 <= (flaw.line or 1) <= lines for flaw in problems)
    assert [document.number for document in found] == list(range(1, len(found) + 1))
    for document in found:
        json.dumps(document.content, allow_nan=False, ensure_ascii=False).encode()
        assert set(document.lines) == paths(document.content)
        assert all(1 <= line <= lines for line in document.lines.values())
