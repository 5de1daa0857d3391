"""The JSON Schema of every message of the contracts, each once; the other references point here."""

from typing import Any

from signalbox_common import contracts
from signalbox_common.contracts.base import REGISTRY, Message, Request

FILE = "schemas.json"


def ours() -> list[type[Message]]:
    """The contracts of this product, in the order of their subjects; others may have registered theirs."""
    return [
        REGISTRY[subject]
        for subject in sorted(REGISTRY)
        if REGISTRY[subject].__module__.startswith(contracts.__name__)
    ]


def schemas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for contract in ours():
        _add(contract, found)
        if issubclass(contract, Request):
            _add(contract.reply, found)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": dict(sorted(found.items()))}


def _add(message: type[Message], found: dict[str, Any]) -> None:
    schema = message.model_json_schema()
    parts = schema.pop("$defs", {})
    if "$ref" not in schema:  # where it refers to itself, it is among its parts
        parts[message.__name__] = schema
    for name, part in parts.items():
        if found.setdefault(name, plain(part)) != plain(part):
            raise ValueError(f"two messages, or parts of them, are called {name}")


def plain(schema: Any) -> Any:
    """Without what only repeats the name of a field, or that it may be left out."""
    if isinstance(schema, list):
        return [plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: value
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str)) and not (key == "default" and value is None)
    }
    return {
        key: {name: plain(each) for name, each in value.items()}
        if key in ("properties", "$defs") and isinstance(value, dict)
        else value
        if key in ("default", "enum", "const", "examples")
        else plain(value)
        for key, value in kept.items()
    }
