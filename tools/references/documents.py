"""All references, by their path below the root of the repository."""

import json
from pathlib import Path
from typing import Any

from signalbox_common.programs import SERVICES
from tools.references.asyncapi import asyncapi
from tools.references.live import live
from tools.references.openapi import openapi
from tools.references.schemas import FILE, schemas
from tools.references.topology import topology

DOCS = Path("docs")

Documents = dict[Path, dict[str, Any]]


def documents() -> Documents:
    """What the code says now."""
    found = {DOCS / FILE: schemas(), DOCS / "openapi.json": openapi(), DOCS / "topology.json": topology()}
    found |= {DOCS / "asyncapi" / f"{service}.json": asyncapi(service) for service in SERVICES}
    found[DOCS / "asyncapi" / "live.json"] = live()
    return {path: json.loads(written(document)) for path, document in found.items()}


def committed() -> Documents:
    """What was said when they were last written."""
    paths = [*DOCS.glob("*.json"), *(DOCS / "asyncapi").glob("*.json")]
    return {path: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
