"""The JSON Schema of each kind's documents."""

from functools import cache
from typing import Any

from signalbox_catalog.domain.kinds import Kind
from signalbox_catalog.domain.manifests import Header
from signalbox_manifests import API_VERSION


@cache
def schema_of(kind: Kind) -> dict[str, Any]:
    """Of a whole document; short forms are taken too, but not described."""
    spec = kind.spec.model_json_schema(by_alias=True)
    metadata = Header.model_json_schema(by_alias=True)
    definitions = spec.pop("$defs", {}) | metadata.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind.name,
        "description": kind.description,
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind.name},
            "metadata": metadata,
            "spec": spec,
            "status": {"type": "object", "description": "What is observed; it is not read from documents."},
        },
        "$defs": definitions,
    }
