"""The references in `docs/`: they are what the code says, each thing once, and they only grow."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tools.references.documents import DOCS, Documents, committed, documents
from tools.references.growth import Place, breaks, narrowed

SCHEMAS, OPENAPI, AUTH = DOCS / "schemas.json", DOCS / "openapi.json", DOCS / "asyncapi" / "auth.json"


@pytest.fixture(scope="module")
def now() -> Documents:
    return documents()


def test_what_was_promised_still_holds(now: Documents) -> None:
    assert breaks(committed(), now) == []


def test_they_are_as_committed(now: Documents) -> None:
    then = committed()
    assert [path for path in {*then, *now} if then.get(path) != now.get(path)] == [], "run `make docs`"


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_every_reference_leads_somewhere(now: Documents) -> None:
    count = 0
    for file, document in now.items():
        for reference in _references(document):
            assert Place(now, file, {"$ref": reference}).resolved().schema
            count += 1
    assert count > 500


def test_no_schema_is_written_twice(now: Documents) -> None:
    """Nor any problem: all of them are one."""
    bodies: dict[str, list[str]] = {}
    for file, document in now.items():
        for name, schema in {
            **document.get("$defs", {}),
            **document.get("components", {}).get("schemas", {}),
        }.items():
            if set(schema) != {"$ref"}:
                text = json.dumps({**schema, "description": None, "title": None}, sort_keys=True)
                bodies.setdefault(f"{name} {text}", []).append(str(file))
    assert {name: files for name, files in bodies.items() if len(files) > 1} == {}
    assert json.dumps(now[OPENAPI]).count("application/problem+json") == 1


def test_every_schema_is_one(now: Documents) -> None:
    for schema in now[SCHEMAS]["$defs"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


# -- the rule --------------------------------------------------------------------------------------


def _defs(documents: Documents, name: str) -> dict[str, Any]:
    found: dict[str, Any] = documents[SCHEMAS]["$defs"][name]
    return found


def _operation(documents: Documents, path: str, method: str) -> dict[str, Any]:
    found: dict[str, Any] = documents[OPENAPI]["paths"][path][method]
    return found


def _set(name: str, field: str, **values: Any) -> Callable[[Documents], None]:
    def change(documents: Documents) -> None:
        _defs(documents, name)["properties"][field].update(values)

    return change


def _require(name: str, field: str) -> Callable[[Documents], None]:
    return lambda documents: _defs(documents, name).setdefault("required", []).append(field)


BREAKS: dict[str, tuple[Callable[[Documents], Any], str]] = {
    "a field of a request is removed": (
        lambda d: _defs(d, "CreateProject")["properties"].pop("description"),
        "CreateProject.description is gone",
    ),
    "a field of an answer is removed": (
        lambda d: _defs(d, "Project")["properties"].pop("slug"),
        "Project.slug is gone",
    ),
    "a field within a list is removed": (
        lambda d: _defs(d, "Metadata")["properties"].pop("labels"),
        "metadata.labels is gone",
    ),
    "a field of an event is removed": (
        lambda d: _defs(d, "ProjectCreated")["properties"].pop("slug"),
        "ProjectCreated.slug is gone",
    ),
    "a field of a request is required": (
        _require("CreateProject", "slug"),
        "CreateProject.slug is required now",
    ),
    "a new field of a request is required": (
        lambda d: (
            _defs(d, "AddMember")["properties"].update(reason={"type": "string"}),
            _require("AddMember", "reason")(d),
        ),
        "AddMember.reason is required now",
    ),
    "a field of an answer may be missing": (
        lambda d: _defs(d, "Project")["required"].remove("slug"),
        "Project.slug may be missing now",
    ),
    "a maximum is lower": (_set("CreateProject", "name", maxLength=199), "name: maxLength is 199 now"),
    "a maximum is new": (_set("Project", "slug", maxLength=5), "slug: maxLength is 5 now"),
    "a minimum is higher": (_set("CreateProject", "name", minLength=2), "name: minLength is 2 now"),
    "a type is another": (
        _set("CreateProject", "name", type="integer"),
        "name is integer now, and was string",
    ),
    "a format is new": (_set("CreateProject", "name", format="uuid"), "name: format is uuid now"),
    "a value is not taken any more": (
        lambda d: _defs(d, "ProjectRole")["enum"].remove("viewer"),
        "takes fewer values",
    ),
    "null is not taken any more": (
        lambda d: _defs(d, "CreateProject")["properties"]["slug"]["anyOf"].pop(),
        "CreateProject.slug is string now, and was null",
    ),
    "a channel is removed": (
        lambda d: d[AUTH]["channels"].pop("CreateProject"),
        "auth: CreateProject is gone",
    ),
    "a subject is another": (
        lambda d: d[AUTH]["channels"]["CreateProject"].update(address="cmd.auth.v1.make-project"),
        "auth: CreateProject has another address",
    ),
    "a role is needed that was not": (
        lambda d: d[AUTH]["channels"]["ListMembers"]["x-needs"].update(role="owner"),
        "auth: ListMembers needs another role",
    ),
    "a consumer is removed": (
        lambda d: d[DOCS / "topology.json"]["consumers"].pop("auth-v1-create-project"),
        "topology: the consumer auth-v1-create-project is gone",
    ),
    "a route is removed": (
        lambda d: d[OPENAPI]["paths"].pop("/api/v1/projects/{project_id}/restore"),
        "POST /api/v1/projects/{project_id}/restore is gone",
    ),
    "a parameter is removed": (
        lambda d: _operation(d, "/api/v1/projects", "get")["parameters"].clear(),
        "GET /api/v1/projects: the parameter limit is gone",
    ),
    "a parameter is required": (
        lambda d: _operation(d, "/api/v1/projects", "get")["parameters"][0].update(required=True),
        "is required now",
    ),
    "an answer is removed": (
        lambda d: _operation(d, "/api/v1/projects", "post")["responses"].pop("201"),
        "POST /api/v1/projects: 201 is gone",
    ),
    "a body of the gateway's own is narrower": (
        lambda d: d[OPENAPI]["components"]["schemas"]["RoleChange"]["properties"].update(
            role={"enum": ["owner"], "type": "string"}
        ),
        "body.role takes fewer values",
    ),
}


@pytest.mark.parametrize(("change", "named"), BREAKS.values(), ids=BREAKS)
def test_a_break_is_refused(now: Documents, change: Callable[[Documents], Any], named: str) -> None:
    broken = copy.deepcopy(now)
    change(broken)
    assert any(named in each for each in breaks(now, broken)), breaks(now, broken)


GROWTH: dict[str, Callable[[Documents], Any]] = {
    "nothing": lambda _: None,
    "an optional field of a request": lambda d: _defs(d, "CreateProject")["properties"].update(
        colour={"type": "string", "maxLength": 10}
    ),
    "a field of an answer": lambda d: (
        _defs(d, "Project")["properties"].update(colour={"type": "string"}),
        _require("Project", "colour")(d),
    ),
    "a field that need not be given any more": lambda d: _defs(d, "CreateProject")["required"].remove("name"),
    "a higher maximum": _set("CreateProject", "name", maxLength=300),
    "no maximum": lambda d: _defs(d, "CreateProject")["properties"]["name"].pop("maxLength"),
    "a lower minimum": _set("CreateProject", "name", minLength=0),
    "another value": lambda d: _defs(d, "ProjectRole")["enum"].append("guest"),
    "null as well": _set("CreateProject", "name", type=["string", "null"]),
    "a wider type": _set("ListProjects", "limit", type="number"),
    "a name for what was written out": lambda d: (
        d[SCHEMAS]["$defs"].update(Text={"type": "string", "maxLength": 200, "minLength": 1}),
        _defs(d, "CreateProject")["properties"].update(name={"$ref": "#/$defs/Text"}),
    ),
    "a channel": lambda d: d[AUTH]["channels"].update(New=d[AUTH]["channels"]["CreateProject"]),
    "a refusal": lambda d: d[AUTH]["channels"]["CreateProject"]["x-refusals"].update(too_many=409),
    "a route": lambda d: d[OPENAPI]["paths"].update({"/new": d[OPENAPI]["paths"]["/health"]}),
    "an optional parameter": lambda d: _operation(d, "/api/v1/projects", "get")["parameters"].append(
        {"name": "colour", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "a description": _set("CreateProject", "name", description="What it is called."),
}


@pytest.mark.parametrize("change", GROWTH.values(), ids=GROWTH)
def test_growth_is_fine(now: Documents, change: Callable[[Documents], Any]) -> None:
    grown = copy.deepcopy(now)
    change(grown)
    assert breaks(now, grown) == []


def test_schemas_may_refer_to_themselves(now: Documents) -> None:
    changed = copy.deepcopy(now)
    _defs(changed, "ResourceTree")["properties"]["references"]["description"] = "deeper"
    old, new = (Place(each, SCHEMAS, {"$ref": "#/$defs/ResourceTree"}) for each in (now, changed))
    assert list(narrowed("ResourceTree", old, new, sent=False)) == []


def test_references_across_files_are_followed() -> None:
    files: Documents = {
        Path("docs/asyncapi/a.json"): {"x": {"$ref": "../b.json#/$defs/y~1z"}},
        Path("docs/b.json"): {"$defs": {"y/z": {"type": "string"}}},
    }
    place = Place(files, Path("docs/asyncapi/a.json"), {"$ref": "#/x"}).resolved()
    assert (place.file, place.schema) == (Path("docs/b.json"), {"type": "string"})
