"""Differences between JSON values, and the pointers that they are told with."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_catalog.domain.diffs import Change, diff
from signalbox_catalog.domain.jsons import Json, pointer, split
from signalbox_catalog.errors import BadInput

SCALARS: st.SearchStrategy[Json] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.0, 1.0, 1.5]), st.sampled_from("xy/~")
)
JSONS: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=5),
        st.dictionaries(st.sampled_from(["a", "b", "", "/", "~", "~1", "0"]), below, max_size=4),
    ),
    max_leaves=15,
)
LISTS = st.lists(st.one_of(st.integers(0, 3), st.lists(st.integers(0, 2), max_size=2)), max_size=7)


def patched(document: Any, changes: tuple[Change, ...]) -> Any:
    """With the changes made; removals from behind, because they are told by their old places."""
    removed = [change for change in changes if change.op == "remove"]
    others = [change for change in changes if change.op != "remove"]
    document = copy.deepcopy(document)
    for change in [*reversed(removed), *others]:
        if change.path == "":
            document = change.new
            continue
        *way, last = split(change.path)
        parent = document
        for step in way:
            parent = parent[int(step)] if isinstance(parent, list) else parent[step]
        key: Any = int(last) if isinstance(parent, list) else last
        match change.op:
            case "remove":
                assert parent[key] == change.old
                del parent[key]
            case "replace":
                assert parent[key] == change.old
                parent[key] = change.new
            case "add" if isinstance(parent, list):
                assert key <= len(parent)
                parent.insert(key, change.new)
            case "add":
                assert key not in parent
                parent[key] = change.new
    return document


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({}, {}, []),
        (1, 1.0, []),
        ({"a": [1, {"b": 2.0}]}, {"a": [1.0, {"b": 2}]}, []),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
        (1, True, [Change("replace", "", old=1, new=True)]),
        ([0], [False], [Change("replace", "/0", old=0, new=False)]),
        ({}, [], [Change("replace", "", {}, [])]),
        ("", None, [Change("replace", "", "", None)]),
        ({"a": None}, {}, [Change("remove", "/a")]),
        ({}, {"a": None}, [Change("add", "/a")]),
        (
            {"c": 1, "b": {"x": 1, "y": 2}, "a": 3},
            {"new": 5, "a": 4, "b": {"y": 3}},
            [
                Change("remove", "/c", old=1),
                Change("remove", "/b/x", old=1),
                Change("replace", "/b/y", 2, 3),
                Change("replace", "/a", 3, 4),
                Change("add", "/new", new=5),
            ],
        ),
        ({"a/b": 1, "m~n": 2}, {}, [Change("remove", "/a~1b", old=1), Change("remove", "/m~0n", old=2)]),
        ([1, 2, 3], [1, 9, 2, 3], [Change("add", "/1", new=9)]),
        ([1, 2, 3], [1, 3], [Change("remove", "/1", old=2)]),
        ([1, 1], [1, 1, 1], [Change("add", "/2", new=1)]),
        ([], [1, 2], [Change("add", "/0", new=1), Change("add", "/1", new=2)]),
        ([1, 2, 3, 4], [1, 4], [Change("remove", "/1", old=2), Change("remove", "/2", old=3)]),
        ([1, 2, 3], [1, 7, 3], [Change("replace", "/1", 2, 7)]),
        (
            [{"n": 1}, {"n": 2}, {"n": 3}, 5],
            [{"n": 1}, {"n": 9}, 5],
            [Change("replace", "/1/n", 2, 9), Change("remove", "/2", old={"n": 3})],
        ),
    ],
)
def test_differences(old: Any, new: Any, changes: list[Change]) -> None:
    assert [_strict(change) for change in diff(old, new)] == [_strict(change) for change in changes]


def _strict(change: Change) -> str:
    return repr(change)  # where True is not 1


@given(JSONS, JSONS)
def test_what_differs_makes_one_of_the_other(old: Json, new: Json) -> None:
    changes = diff(old, new)
    result = patched(old, changes)
    assert result == new
    assert diff(result, new) == ()


@given(LISTS, LISTS)
def test_also_among_long_lists(old: list[Json], new: list[Json]) -> None:
    assert patched(old, diff(old, new)) == new


@given(JSONS)
def test_nothing_differs_from_itself(document: Json) -> None:
    assert diff(document, copy.deepcopy(document)) == ()


@given(LISTS, st.integers(0, 7), SCALARS)
def test_one_more_item_is_one_change(old: list[Json], index: int, item: Json) -> None:
    new = [*old[:index], item, *old[index:]]
    (added,) = diff(old, new)
    assert (added.op, added.new) == ("add", item)
    (removed,) = diff(new, old)
    assert (removed.op, removed.old) == ("remove", item)
    assert removed.path == added.path


@given(JSONS, JSONS)
def test_arguments_stay_as_they_are(old: Json, new: Json) -> None:
    before = copy.deepcopy((old, new))
    diff(old, new)
    assert (old, new) == before


@pytest.mark.parametrize(
    ("path", "written"),
    [((), ""), (("",), "/"), (("a", 0), "/a/0"), (("a/b",), "/a~1b"), (("~1", "~"), "/~01/~0")],
)
def test_pointers(path: tuple[str | int, ...], written: str) -> None:
    assert pointer(path) == written
    assert split(written) == tuple(str(step) for step in path)


@given(st.lists(st.text(alphabet="~/01a", max_size=4)))
def test_pointers_can_be_split_again(path: list[str]) -> None:
    assert split(pointer(path)) == tuple(path)


def test_a_pointer_begins_with_a_slash() -> None:
    with pytest.raises(BadInput):
        split("a")
