"""Resources as YAML: what is written is read the same by the server."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from signalbox_cli.catalog import documents
from signalbox_common.contracts.catalog import Resource
from signalbox_manifests import read

TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("\n\n \t#:-'\"|>%"),
    max_size=40,
)
SPEC = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(bool), inner, max_size=4),
    max_leaves=15,
)


def resource(**spec: Any) -> Resource:
    return Resource.model_validate(
        {
            "apiVersion": "signalbox.dev/v1",
            "kind": "Ghost",
            "metadata": {
                "name": "g",
                "namespace": "team",
                "uid": "0198c0de-0000-7000-8000-000000000000",
                "displayName": None,
                "labels": {"app": "x"},
                "annotations": {},
                "createdBy": "0198c0de-0000-7000-8000-000000000001",
                "createdAt": "2026-01-02T03:04:05Z",
                "updatedAt": "2026-01-02T03:04:05Z",
                "deletedAt": None,
                "generation": 3,
                "resourceVersion": "17",
            },
            "spec": spec,
            "status": {"state": "Available"},
        }
    )


@given(spec=st.dictionaries(TEXT.filter(bool), SPEC, max_size=4))
@example(spec={"a": "1e5", "b": "0o7", "c": "no", "d": "~", "e": "2024-01-01", "f": "<<", "g": "=", "h": "-"})
@example(spec={"a": " lead\ntail \n", "b": "\n\nx", "c": "tab\tx\n\ty ", "d": "x\n\n\n", "e": "x\n   \n y"})
@example(spec={"a": [["x\ny\n", {"b": "x\n y"}], {"c": ["p\nq"]}]})
def test_what_is_written_is_read_the_same(spec: dict[str, Any]) -> None:
    written = documents.to_yaml({"spec": spec})
    assert read(written.encode())[0].content == {"spec": spec}


def test_long_texts_are_blocks() -> None:
    prompt = "You are a bot.\n\n  - be kind  \n\t- be quick\n"
    written = documents.to_yaml({"systemPrompt": prompt, "list": ["a\nb"], "short": "x"})
    assert written == (
        "systemPrompt: |\n  You are a bot.\n\n    - be kind  \n  \t- be quick\n"
        "list:\n- |-\n  a\n  b\nshort: x\n"
    )


def test_nothing_that_a_terminal_obeys_is_written() -> None:
    written = documents.to_yaml({"a": "\x1b[31mred\nlines", "b": "\x9bx"})
    assert written.isascii()
    assert written.replace("\n", "").isprintable()


def test_all_that_there_is_and_only_what_people_say() -> None:
    found = resource(systemPrompt="Hello")
    whole = documents.document(found)
    assert list(whole) == ["apiVersion", "kind", "metadata", "spec", "status"]
    assert whole["metadata"].keys() == {
        *("name", "namespace", "uid", "labels", "createdBy", "createdAt", "updatedAt"),
        *("generation", "resourceVersion"),
    }
    assert documents.export(found) == {
        "apiVersion": "signalbox.dev/v1",
        "kind": "Ghost",
        "metadata": {"name": "g", "labels": {"app": "x"}},
        "spec": {"systemPrompt": "Hello"},
    }
    assert documents.export(found, namespace=True)["metadata"]["namespace"] == "team"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_several_are_documents_of_their_own(count: int) -> None:
    found = [documents.export(resource(systemPrompt=f"Number {n}")) for n in range(count)]
    assert [each for each in yaml.safe_load_all(documents.all_to_yaml(found)) if each] == found
    listed = json.loads(documents.all_to_json(found))
    assert (listed["kind"], listed["items"]) == ("List", found)
