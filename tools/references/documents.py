"""All references, by their path below the root of the repository."""

import json
from pathlib import Path

from signalbox_common.programs import SERVICES
from tools.references.asyncapi import asyncapi
from tools.references.live import live
from tools.references.openapi import openapi

DOCS = Path("docs")


def documents() -> dict[Path, str]:
    found = {DOCS / "openapi.json": openapi()}
    found |= {DOCS / "asyncapi" / f"{service}.json": asyncapi(service) for service in SERVICES}
    found[DOCS / "asyncapi" / "live.json"] = live()
    return {path: json.dumps(document, indent=2, sort_keys=False) + "\n" for path, document in found.items()}
