"""Fields of a kind, out of its JSON Schema."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.formatting import harmless
from signalbox_common.contracts.catalog import KindEntry

Schema = Mapping[str, Any]
WIDTH = 100
INDENT = "  "


@dataclass(frozen=True)
class Node:
    """A place in a schema, with what names are short for written out."""

    root: Schema
    given: Schema

    @property
    def schema(self) -> Schema:
        """The one alternative that is not null, where there is only one; described where it stands."""
        found = _followed(self.root, self.given)
        branches = self._branches(found)
        if len(branches) != 1:
            return found
        only = _followed(self.root, branches[0])
        said = {name: found[name] for name in ("description",) if name in found}
        return {**only, **said}

    def _branches(self, schema: Schema) -> list[Schema]:
        return [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]

    @property
    def inside(self) -> "Node":
        """What its items or values are, through all lists and mappings; itself where it is neither."""
        schema = self.schema
        below = schema.get("items") if schema.get("type") == "array" else schema.get("additionalProperties")
        if isinstance(below, Mapping) and not schema.get("properties"):
            return Node(self.root, below).inside
        return self

    def fields(self) -> dict[str, "Node"]:
        found = self.inside.schema.get("properties", {})
        return {name: Node(self.root, schema) for name, schema in found.items()}

    def requires(self, name: str) -> bool:
        return name in self.inside.schema.get("required", ())

    def type(self) -> str:
        schema = self.schema
        branches = self._branches(schema)
        if branches:
            return " or ".join(dict.fromkeys(Node(self.root, each).type() for each in branches))
        kind = schema.get("type")
        if kind == "array":
            return f"[]{Node(self.root, schema.get('items', {})).type()}"
        values = schema.get("additionalProperties")
        if kind == "object" and isinstance(values, Mapping) and not schema.get("properties"):
            inner = Node(self.root, values)
            return f"map[string]{inner.type() if values else 'any'}"
        if kind is None:
            return "string" if "const" in schema or "enum" in schema else "any"
        return " or ".join(kind) if isinstance(kind, list) else str(kind)

    def values(self) -> list[str]:
        schema = self.inside.schema
        allowed = [schema["const"]] if "const" in schema else schema.get("enum", ())
        return [harmless(str(value)) for value in allowed]

    def description(self) -> str:
        return harmless(str(self.schema.get("description") or self.inside.schema.get("description") or ""))


def _followed(root: Schema, schema: Schema) -> Schema:
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step.replace("~1", "/").replace("~0", "~"), {})
    return {**found, **{name: value for name, value in schema.items() if name != "$ref"}}


def find(root: Schema, path: Sequence[str]) -> tuple[Node, bool]:
    """The field at the end of the path, and whether it has to be there."""
    node, required = Node(root, root), False
    for number, step in enumerate(path):
        fields = node.fields()
        if step not in fields:
            above = ".".join(path[:number]) or "it"
            known = f"; {above} has {', '.join(fields)}" if fields else f": {above} has no fields"
            raise Mistake(f"there is no field {'.'.join(path[: number + 1])}{known}")
        node, required = fields[step], node.requires(step)
    return node, required


def lines(kind: KindEntry, root: Schema, path: Sequence[str], *, recursive: bool = False) -> Iterator[str]:
    node, required = find(root, path)
    yield f"KIND:     {kind.kind}"
    yield f"VERSION:  {kind.api_version}"
    if path:
        yield ""
        yield f"FIELD:    {path[-1]} <{node.type()}>{_mark(required)}"
    yield ""
    yield "DESCRIPTION:"
    yield from _wrapped(node.description() or "There is no description.", INDENT)
    yield from _values(node, "")
    fields = node.fields()
    if fields:
        yield ""
        yield "FIELDS:"
        yield from _tree(node, INDENT, ()) if recursive else _listed(node)


def _listed(node: Node) -> Iterator[str]:
    for name, field in node.fields().items():
        yield f"{INDENT}{name} <{field.type()}>{_mark(node.requires(name))}"
        yield from _values(field, INDENT * 2)
        if field.description():
            yield from _wrapped(field.description(), INDENT * 2)
        yield ""


def _tree(node: Node, indent: str, above: tuple[Schema, ...]) -> Iterator[str]:
    for name, field in node.fields().items():
        yield f"{indent}{name} <{field.type()}>{_mark(node.requires(name))}"
        yield from _values(field, indent + INDENT)
        inside = field.inside.schema
        if inside not in above:  # a schema may stand within itself
            yield from _tree(field, indent + INDENT, (*above, inside))


def _values(node: Node, indent: str) -> Iterator[str]:
    allowed = node.values()
    if allowed:
        yield f"{indent}{'VALUES:   ' if not indent else 'one of: '}{', '.join(allowed)}"


def _mark(required: bool) -> str:
    return " -required-" if required else ""


def _wrapped(text: str, indent: str) -> Iterator[str]:
    for paragraph in text.split("\n"):
        yield from textwrap.wrap(paragraph, WIDTH, initial_indent=indent, subsequent_indent=indent) or [""]
