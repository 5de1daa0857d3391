"""Secrets are where the types say: they travel at any depth, and are in no digest."""

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, Secret, SecretBytes, SecretStr

from signalbox_common.contracts.base import Message

Password = Annotated[SecretStr, Field(max_length=100)]


class Key(Message):
    name: str
    key_value: Password | None = None


class Plain(BaseModel):
    shown: str
    hidden: SecretStr


class Bundle(Message):
    label: str = "all"
    main_key: Key
    more: tuple[Key, ...] = ()
    by_name: dict[str, Key | None] = Field(default_factory=dict)
    words: tuple[SecretStr, ...] = ()
    document: Secret[dict[str, Any]] | None = None
    plain: Plain | None = None


class Innocent(Message):
    label: str
    notes: dict[str, list[str]] = Field(default_factory=dict)


class Tree(Message):
    name: str
    below: "tuple[Tree, ...]" = ()
    key: SecretStr | None = None


BUNDLE = Bundle(
    main_key=Key(name="a", key_value=SecretStr("one")),
    more=(Key(name="b", key_value=SecretStr("two")), Key(name="c")),
    by_name={"d": Key(name="d", key_value=SecretStr("three")), "e": None},
    words=(SecretStr("four"), SecretStr("five")),
    document=Secret({"six": ["seven"]}),
    plain=Plain(shown="x", hidden=SecretStr("eight")),
)


def test_a_secret_travels_as_it_is_at_any_depth() -> None:
    assert json.loads(BUNDLE.encode()) == {
        "label": "all",
        "mainKey": {"name": "a", "keyValue": "one"},
        "more": [{"name": "b", "keyValue": "two"}, {"name": "c", "keyValue": None}],
        "byName": {"d": {"name": "d", "keyValue": "three"}, "e": None},
        "words": ["four", "five"],
        "document": {"six": ["seven"]},
        "plain": {"shown": "x", "hidden": "eight"},
    }
    assert Bundle.model_validate_json(BUNDLE.encode()) == BUNDLE


def test_a_digest_is_made_of_everything_else() -> None:
    assert BUNDLE.public_body() == {
        "label": "all",
        "mainKey": {"name": "a"},
        "more": [{"name": "b"}, {"name": "c"}],
        "byName": {"d": {"name": "d"}, "e": None},
        "plain": {"shown": "x"},
    }
    assert "***" not in json.dumps(BUNDLE.public_body())


def test_a_tree_of_secrets() -> None:
    tree = Tree(name="top", below=(Tree(name="leaf", key=SecretStr("k")),))
    assert Tree.carries_secrets
    assert Tree.model_validate_json(tree.encode()) == tree
    assert json.loads(tree.encode())["below"][0]["key"] == "k"
    assert tree.public_body() == {"name": "top", "below": [{"name": "leaf", "below": []}]}


def test_what_has_no_secret_is_encoded_as_it_is() -> None:
    assert not Innocent.carries_secrets
    innocent = Innocent(label="ü", notes={"a": ["b"]})
    assert innocent.encode() == '{"label":"ü","notes":{"a":["b"]}}'.encode()
    assert innocent.public_body() == {"label": "ü", "notes": {"a": ["b"]}}


def test_what_cannot_be_looked_through_is_no_message() -> None:
    with pytest.raises(TypeError, match="must be defined before"):

        class Early(Message):
            later: "Later"  # type: ignore[name-defined]  # noqa: F821 - that is the point

    with pytest.raises(TypeError, match="SecretStr"):

        class Raw(Message):
            raw: SecretBytes
