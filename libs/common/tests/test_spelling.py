"""Names that nobody knows, whatever the type is made of."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from signalbox_common.spelling import MOST, nearest, unknown_fields, unknown_names


class Leaf(BaseModel):
    size: int = 0
    renamed: int = Field(default=0, alias="calledThis")


class Opened(BaseModel):
    model_config = ConfigDict(extra="allow")

    leaf: Leaf | None = None


class First(BaseModel):
    type: Literal["first"]
    width: int = 0


class Second(BaseModel):
    type: Literal["second"] = "second"
    height: int = 0


class Whole(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    leaf: Leaf | None = None
    leaves: Annotated[tuple[Leaf, ...], Field(max_length=3)] = ()
    named: dict[str, Leaf] = Field(default_factory=dict)
    anything: dict[str, Any] = Field(default_factory=dict)
    opened: Opened | None = None
    either: Annotated[First | Second, Field(discriminator="type")] | Literal[False] = False
    long_name: int = Field(default=0, alias="longName")


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({}, []),
        ({"longName": 1, "long_name": 1, "anything": {"x": {"y": 1}}}, []),
        ({"lfea": {}}, ["lfea"]),
        ({"leaf": {"sise": 1}}, ["leaf.sise"]),
        ({"leaf": {"renamed": 1, "calledThis": 1}}, ["leaf.renamed"]),
        ({"leaf": None, "leaves": "no list", "named": []}, []),
        ({"leaves": [{}, {"sise": 1}, 3]}, ["leaves.1.sise"]),
        ({"named": {"any": {"sise": 1}}}, ["named.any.sise"]),
        ({"opened": {"more": 1, "leaf": {"sise": 1}}}, ["opened.leaf.sise"]),
        ({"either": {"type": "first", "height": 1}}, ["either.height"]),
        ({"either": {"type": "second", "width": 1}}, ["either.width"]),
        ({"either": {"hight": 1}}, ["either.hight"]),
        ({"either": False}, []),
        (["not an object"], []),
        (None, []),
    ],
)
def test_what_is_unknown_is_found_where_it_stands(value: Any, fields: list[str]) -> None:
    assert [each.field for each in unknown_fields(Whole | None, value)] == fields


def test_what_is_kept_is_told_of_where_that_is_wanted() -> None:
    value = {"opened": {"more": 1}}
    assert unknown_fields(Whole, value) == []
    assert [each.field for each in unknown_fields(Whole, value, kept=True)] == ["opened.more"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("longname", "longName"),
        ("long-name", "longName"),
        ("LONG_NAME", "longName"),
        ("lognName", "longName"),
        ("expiresInDays", "expiresAt"),
        ("somethingElse", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_looked_for(given: str, meant: str | None) -> None:
    assert nearest(given, ("longName", "expiresAt", "leaf")) == meant


def test_not_more_is_told_than_anybody_reads() -> None:
    assert len(unknown_fields(Leaf, {str(number): 1 for number in range(10_000)})) == MOST
    found = unknown_names(("a",), ["x" * 100_000])
    assert len(found[0].field) == 100
