"""OpenAPI of the gateway; what contracts say is referred to where it stands."""

from typing import Any

from signalbox_gateway.app import build
from signalbox_gateway.settings import GatewaySettings
from tools.references.schemas import FILE, plain, schemas

_HERE, _THERE = "#/components/schemas/", "#/$defs/"


def openapi() -> dict[str, Any]:
    document = build(GatewaySettings()).openapi()
    known = schemas()["$defs"]
    components: dict[str, Any] = document["components"]["schemas"]
    document["components"]["schemas"] = {
        name: {"$ref": f"{FILE}{_THERE}{name}"} if known.get(name) == _moved(schema) else plain(schema)
        for name, schema in sorted(components.items())
    }
    document["paths"] = {path: _untitled(item) for path, item in document["paths"].items()}
    return document


def _moved(schema: Any) -> Any:
    """As it would be written in the file of all schemas."""
    if isinstance(schema, dict):
        moved = {key: _moved(value) for key, value in schema.items()}
        if isinstance(moved.get("$ref"), str):
            moved["$ref"] = moved["$ref"].replace(_HERE, _THERE)
        return plain(moved)
    return [_moved(each) for each in schema] if isinstance(schema, list) else schema


def _untitled(node: Any) -> Any:
    """Its schemas as plain as the others."""
    if isinstance(node, dict):
        return {key: plain(value) if key == "schema" else _untitled(value) for key, value in node.items()}
    return [_untitled(each) for each in node] if isinstance(node, list) else node
