"""The rule of `v1`: it only grows. Nothing is removed, nothing narrowed, and no new field is required.

A break is a `v2` beside it. The references as they were last written are compared with what the code says,
so that the rule counts for whoever reads those: clients of the API, and services on the bus.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.references.documents import DOCS, Documents

Schema = dict[str, Any]

_UPPER = ("maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum")
_LOWER = ("minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum")
_WORD = re.compile(r"\^([a-z0-9-]+)\$")
_FIXED = ("pattern", "format", "multipleOf", "contentMediaType")
_EVERY = frozenset({"null", "boolean", "object", "array", "number", "integer", "string"})


@dataclass(frozen=True)
class Place:
    """A schema, and the document that its references are relative to."""

    documents: Documents
    file: Path
    schema: Schema

    def at(self, schema: Any) -> "Place":
        return Place(self.documents, self.file, schema if isinstance(schema, dict) else {})

    def resolved(self) -> "Place":
        place = self
        while isinstance(reference := place.schema.get("$ref"), str):
            name, _, pointer = reference.partition("#/")
            file = place.file if not name else Path(_normal(place.file.parent / name))
            found: Any = place.documents[file]
            for part in pointer.split("/"):
                found = found[part.replace("~1", "/").replace("~0", "~")]
            place = Place(place.documents, file, found)
        return place


def _normal(path: Path) -> str:
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def breaks(old: Documents, new: Documents) -> list[str]:
    """What of the old ones does not hold any more, in the words of whoever reads it."""
    return list(dict.fromkeys([*_of_bus(old, new), *_of_api(old, new)]))


# -- the bus -----------------------------------------------------------------------------------------------


def _of_bus(old: Documents, new: Documents) -> Iterator[str]:
    for file, before in old.items():
        now = new.get(file, {})
        for name, channel in before.get("channels", {}).items():
            where = f"{file.stem}: {name}"
            if "$ref" in channel:
                continue  # what it sends to others is no promise
            other = _same_channel(name, channel, now.get("channels", {}))
            if other is None:
                yield f"{where} is gone"
            else:
                action = before["operations"].get(name, {}).get("action")
                yield from _of_channel(
                    where, Place(old, file, channel), Place(new, file, other), received=action == "receive"
                )
        for name in before.get("consumers", {}):
            if name not in now.get("consumers", {}):
                yield f"topology: the consumer {name} is gone"


def _same_channel(name: str, channel: Schema, now: dict[str, Schema]) -> Schema | None:
    """Whoever uses it knows its address; what we call it is our own affair."""
    here = (other for other in now.values() if other.get("address") == channel["address"])
    return now.get(name) or next(here, None)


def _of_channel(where: str, old: Place, new: Place, *, received: bool) -> Iterator[str]:
    new = new.resolved()
    if old.schema["address"] != new.schema["address"]:
        yield f"{where} has another address"
    for need, value in new.schema.get("x-needs", {}).items():
        if old.schema.get("x-needs", {}).get(need) != value:
            yield f"{where} needs another {need}"
    request = next(iter(old.schema["messages"]))
    # A request and its reply, or an event, each in this order.
    others = [*new.schema["messages"].values(), None]
    for (name, message), other in zip(old.schema["messages"].items(), others, strict=False):
        if other is None:
            yield f"{where} does not carry {name} any more"
        else:
            sides = old.at(message.get("payload")), new.at(other.get("payload"))
            yield from narrowed(name, *sides, sent=received and name == request)


# -- the API -----------------------------------------------------------------------------------------------


def _of_api(old: Documents, new: Documents) -> Iterator[str]:
    file = DOCS / "openapi.json"
    paths = new.get(file, {}).get("paths", {})
    for path, methods in old.get(file, {}).get("paths", {}).items():
        for method, operation in methods.items():
            where = f"{method.upper()} {path}"
            other = paths.get(path, {}).get(method)
            if other is None:
                yield f"{where} is gone"
                continue
            sides = Place(old, file, operation), Place(new, file, other)
            yield from _of_parameters(where, *sides)
            yield from _of_body(where, *sides)
            yield from _of_responses(where, *sides)


def _of_parameters(where: str, old: Place, new: Place) -> Iterator[str]:
    before, now = _parameters(old), _parameters(new)
    for name, parameter in now.items():
        if parameter.get("required") and not before.get(name, {}).get("required"):
            yield f"{where}: the parameter {name} is required now"
    for name, parameter in before.items():
        if name not in now:
            yield f"{where}: the parameter {name} is gone"
        else:
            sides = old.at(parameter.get("schema")), new.at(now[name].get("schema"))
            yield from narrowed(f"{where}: {name}", *sides, sent=True)


def _parameters(operation: Place) -> dict[str, Schema]:
    return {each["name"]: each for each in operation.schema.get("parameters", [])}


def _of_body(where: str, old: Place, new: Place) -> Iterator[str]:
    before, now = old.schema.get("requestBody"), new.schema.get("requestBody")
    if now is not None and now.get("required") and not (before or {}).get("required"):
        yield f"{where}: a body is required now"
    if before is not None and now is None:
        yield f"{where}: the body is gone"
    elif before is not None:
        yield from _of_content(f"{where}: body", old.at(before), new.at(now), sent=True)


def _of_responses(where: str, old: Place, new: Place) -> Iterator[str]:
    """Successes; a problem has the same shape everywhere, and clients go by its code."""
    for status, response in old.schema["responses"].items():
        if status.startswith("2"):
            other = new.schema["responses"].get(status)
            if other is None:
                yield f"{where}: {status} is gone"
            else:
                yield from _of_content(f"{where}: {status}", old.at(response), new.at(other), sent=False)


def _of_content(where: str, old: Place, new: Place, *, sent: bool) -> Iterator[str]:
    media = new.schema.get("content", {})
    for name, content in old.schema.get("content", {}).items():
        if name not in media:
            yield f"{where}: {name} is gone"
        else:
            sides = old.at(content.get("schema")), new.at(media[name].get("schema"))
            yield from narrowed(where, *sides, sent=sent)


# -- schemas -----------------------------------------------------------------------------------------------


def narrowed(
    where: str, old: Place, new: Place, *, sent: bool, seen: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[str]:
    """What the old schema allowed and the new one does not; `sent` by clients, or else read by them."""
    old, new = old.resolved(), new.resolved()
    pair = (id(old.schema), id(new.schema))
    if pair in seen or old.schema == new.schema == {}:
        return
    seen |= {pair}
    if _options(old) or _options(new):
        yield from _of_options(where, old, new, sent=sent, seen=seen)
        return
    yield from _of_values(where, old.schema, new.schema)
    before, now = old.schema.get("properties", {}), new.schema.get("properties", {})
    for name, schema in before.items():
        if name not in now:
            yield f"{where}.{name} is gone"
        else:
            yield from narrowed(f"{where}.{name}", old.at(schema), new.at(now[name]), sent=sent, seen=seen)
    required, required_now = set(old.schema.get("required", ())), set(new.schema.get("required", ()))
    if sent:
        yield from (f"{where}.{name} is required now" for name in sorted(required_now - required))
    else:
        missing = sorted((required - required_now) & set(now))
        yield from (f"{where}.{name} may be missing now" for name in missing)
    for key in ("items", "additionalProperties"):
        if key in new.schema and new.schema[key] is not True:
            if new.schema[key] is False and old.schema.get(key) is not False:
                yield f"{where}: {key} are refused now"
            else:
                sides = old.at(old.schema.get(key)), new.at(new.schema[key])
                yield from narrowed(f"{where}[]", *sides, sent=sent, seen=seen)


def _options(place: Place) -> list[Any]:
    return [*place.schema.get("anyOf", ()), *place.schema.get("oneOf", ())]


def _of_options(
    where: str, old: Place, new: Place, *, sent: bool, seen: frozenset[tuple[int, int]]
) -> Iterator[str]:
    """Each of the old ones fits one of the new ones; the nearest is named where none does."""
    for option in _options(old) or [old.schema]:
        found = [
            list(narrowed(where, old.at(option), new.at(other), sent=sent, seen=seen))
            for other in _options(new) or [new.schema]
        ]
        yield from min(found, key=len)


def _of_values(where: str, old: Schema, new: Schema) -> Iterator[str]:
    if not _types(old) <= _types(new):
        yield f"{where} is {_named(new)} now, and was {_named(old)}"
    allowed, allowed_now = _enumerated(old), _enumerated(new)
    if allowed_now is not None and (allowed is None or not allowed <= allowed_now):
        yield f"{where} takes fewer values"
    for key in _UPPER:
        if key in new and (key not in old or new[key] < old[key]):
            yield f"{where}: {key} is {new[key]} now"
    for key in _LOWER:
        if key in new and (key not in old or new[key] > old[key]):
            yield f"{where}: {key} is {new[key]} now"
    for key in _FIXED:
        if key in new and new[key] != old.get(key):
            yield f"{where}: {key} is {new[key]} now"


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    named = schema.get("type")
    types = _EVERY if named is None else frozenset({named} if isinstance(named, str) else named)
    return types | {"integer"} if "number" in types else types


def _named(schema: Mapping[str, Any]) -> str:
    named = schema.get("type", "anything")
    return named if isinstance(named, str) else " or ".join(named)


def _enumerated(schema: Mapping[str, Any]) -> frozenset[str] | None:
    word = _WORD.fullmatch(schema.get("pattern", ""))
    if word is not None:  # a pattern that one word alone matches
        return frozenset({repr(word[1])})
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return None if values is None else frozenset(map(repr, values))
