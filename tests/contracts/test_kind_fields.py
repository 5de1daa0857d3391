"""`signalbox explain`, out of the schemas that the server has."""

import pytest

from signalbox_catalog.domain import kinds as server
from signalbox_catalog.domain.schemas import schema_of
from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.kind_fields import find, lines
from signalbox_common.contracts.catalog import KindEntry


def explained(what: str, *, recursive: bool = False) -> str:
    name, *path = what.split(".")
    kind = server.by_plural(name)
    assert kind is not None
    entry = KindEntry(
        kind=kind.name,
        plural=kind.plural,
        singular=kind.singular,
        short_names=(),
        api_version="signalbox.dev/v1",
        description="",
        refers_to=(),
    )
    return "\n".join(lines(entry, schema_of(kind), path, recursive=recursive))


def test_a_kind_is_explained() -> None:
    shown = explained("bots")
    assert shown.startswith("KIND:     Bot\nVERSION:  signalbox.dev/v1\n\nDESCRIPTION:\n")
    assert "  metadata <object> -required-" in shown
    assert "  status <object>\n" in shown
    assert "  kind <string> -required-\n    one of: Bot" in shown


def test_a_field_is_explained_with_all_below() -> None:
    shown = explained("teams.spec.members")
    assert "FIELD:    members <[]object> -required-" in shown
    assert "  botRef <object> -required-" in shown
    assert "    one of: none, original_user, previous_bot, original_and_previous" in shown
    assert "botRef <object> -required-\n      name <string> -required-" in explained(
        "teams.spec", recursive=True
    )


@pytest.mark.parametrize(
    ("what", "type_"),
    [
        ("teams.metadata.labels", "map[string]string"),
        ("teams.metadata.displayName", "string"),
        ("teams.metadata.resourceVersion", "string or integer"),
        ("ghosts.spec.mcpServers", "map[string]object"),
        ("ghosts.spec.mcpServers.args", "[]string"),
        ("ghosts.spec.mcpServers.env", "map[string]string or integer or number or boolean"),
        ("teams.spec.members.requireConfirmation", "boolean"),
        ("models.spec.modelConfig.temperature", "number"),
    ],
)
def test_types_are_short(what: str, type_: str) -> None:
    assert f"<{type_}>" in explained(what).split("\n")[3]


def test_a_field_is_described_where_it_stands() -> None:
    shown = explained("ghosts.spec.mcpServers")
    assert "Tool servers by name." in shown
    assert "VALUES:   solo, pipeline, route, coordinate, collaborate" in explained(
        "teams.spec.collaborationModel"
    )


def test_what_is_no_field_is_told_with_those_that_there_are() -> None:
    with pytest.raises(Mistake, match=r"there is no field spec\.ghost; spec has ghostRef, shellRef"):
        explained("bots.spec.ghost")
    with pytest.raises(Mistake, match=r"spec\.ghostRef\.name\.x: spec\.ghostRef\.name has no fields"):
        explained("bots.spec.ghostRef.name.x")


def test_a_schema_within_itself_comes_to_an_end() -> None:
    tree = {"type": "object", "properties": {"left": {"$ref": "#/$defs/Tree"}, "size": {"type": "integer"}}}
    root = {"properties": {"spec": {"$ref": "#/$defs/Tree"}}, "$defs": {"Tree": tree}}
    entry = KindEntry(
        kind="T", plural="ts", singular="t", short_names=(), api_version="v", description="", refers_to=()
    )
    shown = list(lines(entry, root, [], recursive=True))
    assert 0 < sum("size" in line for line in shown) < 4
    node, required = find(root, ["spec", "left", "left", "size"])
    assert (node.type(), required) == ("integer", False)
