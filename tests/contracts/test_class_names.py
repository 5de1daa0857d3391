"""A class name means one thing in its package, so that whoever reads it need not ask which."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for path in ROOT.glob("*/*/signalbox_*/__init__.py"))
EXPLAINED: dict[str, set[str]] = {
    "signalbox_common": {
        "FactConsumer",  # the row of a consumer in the contracts, and what serves it on the bus
        "Health",  # the query, and what answers it
    },
}


def classes_of(package: Path) -> dict[str, list[str]]:
    """Where each name is given to a class."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{path.relative_to(package)}:{node.lineno}")
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_a_class_name_occurs_once_in_a_package(package: Path) -> None:
    twice = {name: places for name, places in classes_of(package).items() if len(places) > 1}
    allowed = EXPLAINED.get(package.name, set())
    assert {name: places for name, places in twice.items() if name not in allowed} == {}


def test_every_package_is_looked_at() -> None:
    assert {"signalbox_common", "signalbox_cli", "signalbox_gateway"} <= {each.name for each in PACKAGES}
    assert "Hub" in classes_of(ROOT / "services/gateway/signalbox_gateway")
