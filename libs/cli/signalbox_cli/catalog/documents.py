"""Resources as documents: what `get` and `edit` write, and what `edit` and `delete -f` read.

What is written here is read the same by the server, whose YAML is that of version 1.2: `0o7` and `1e5` are
numbers there, and `no` is a text.
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

import signalbox_manifests
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.catalog import Resource
from signalbox_manifests import API_VERSION, FOREIGN_API_VERSIONS, Document, ManifestError

Content = dict[str, Any]
API_VERSIONS = FOREIGN_API_VERSIONS | {API_VERSION}
"""What `apiVersion` says in documents of this catalog."""

_MADE_BY_THE_SERVER = (
    "uid",
    "createdBy",
    "createdAt",
    "updatedAt",
    "deletedAt",
    "generation",
    "resourceVersion",
)
_NOT_IN_BLOCKS = re.compile(
    "[^\t\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_AS_NUMBERS = "+-.0123456789"


class DocumentError(Exception):
    """The text makes no sense."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


def read(text: str) -> list[Document]:
    try:
        return signalbox_manifests.read(text.encode("utf-8", "surrogatepass"))
    except ManifestError as error:
        raise DocumentError(
            [
                FieldError(field=flaw.field, message=flaw.message, code=flaw.code, line=flaw.line)
                for flaw in error.flaws
            ]
        ) from None


def document(resource: Resource) -> Content:
    """Everything that the server says, but for what is empty."""
    whole = resource.model_dump(mode="json", by_alias=True)
    metadata = {name: value for name, value in whole["metadata"].items() if value not in (None, {})}
    return {**whole, "metadata": metadata}


def export(resource: Resource, *, namespace: bool = False) -> Content:
    """Only what people say; without the namespace, it can be applied in any."""
    whole = document(resource)
    del whole["status"]
    left_out = _MADE_BY_THE_SERVER if namespace else ("namespace", *_MADE_BY_THE_SERVER)
    for name in left_out:
        whole["metadata"].pop(name, None)
    return whole


def to_yaml(value: Any) -> str:
    return yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=sys.maxsize,
        default_flow_style=False,
    )


def all_to_yaml(found: Iterable[Content]) -> str:
    return "---\n".join(to_yaml(each) for each in found)


def all_to_json(found: Iterable[Content]) -> str:
    """As a list, which can be applied too."""
    return to_json({"apiVersion": API_VERSION, "kind": "List", "items": list(found)})


def to_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks, and texts in quotes wherever another reader could see something else in them."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - nothing here is the same thing twice
        return True

    def analyze_scalar(self, scalar: str) -> Any:
        analysis = super().analyze_scalar(scalar)
        # PyYAML would write texts with tabs, or with spaces at the end of a line, in quotes.
        analysis.allow_block = _fits_a_block(scalar)
        return analysis


def _fits_a_block(text: str) -> bool:
    return "\n" in text and not text[0].isspace() and _NOT_IN_BLOCKS.search(text) is None


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if _NOT_IN_BLOCKS.search(text):
        style = '"'
    elif "\n" in text:
        style = "|"
    elif text.startswith(tuple(_AS_NUMBERS)):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
