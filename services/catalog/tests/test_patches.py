"""JSON merge patches."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_catalog.domain.jsons import DEEPEST, Json
from signalbox_catalog.domain.patches import merged
from signalbox_catalog.errors import BadInput

SCALARS: st.SearchStrategy[Json] = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3)
)
KEYS = st.sampled_from(["a", "b", "c", ""])


def jsons(scalars: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.recursive(
        scalars,
        lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(KEYS, below, max_size=3)),
        max_leaves=12,
    )


WITHOUT_NULLS = jsons(SCALARS)
JSONS = jsons(st.one_of(st.none(), SCALARS))


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the appendix of RFC 7396
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


@given(JSONS, JSONS)
def test_arguments_stay_as_they_are(target: Json, patch: Json) -> None:
    before = copy.deepcopy((target, patch))
    merged(target, patch)
    assert (target, patch) == before


@given(JSONS, JSONS)
def test_twice_is_once(target: Json, patch: Json) -> None:
    once = merged(target, patch)
    assert merged(once, patch) == once


@given(WITHOUT_NULLS)
def test_a_document_without_nulls_is_a_patch_that_makes_it(document: Json) -> None:
    assert merged({}, document) == document


@given(JSONS)
def test_an_empty_patch_leaves_mappings_alone(target: Json) -> None:
    assert merged(target, {}) == (target if isinstance(target, dict) else {})


def nested(levels: int, *, lists: bool) -> Json:
    value: Json = 1
    for _ in range(levels - 1):
        value = [value] if lists else {"a": value}
    return value


@pytest.mark.parametrize("lists", [True, False])
def test_a_patch_is_not_too_deep(lists: bool) -> None:
    deep = nested(DEEPEST, lists=lists)
    assert merged({}, deep) == deep
    for levels in (DEEPEST + 1, 5000):
        with pytest.raises(BadInput) as raised:
            merged({}, nested(levels, lists=lists))
        assert [flaw.code for flaw in raised.value.flaws] == ["too_deep"]
