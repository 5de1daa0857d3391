"""JSON schemas of all contracts, committed so that a change shows up as a diff.

`python -m tests.contracts.snapshots` writes them.
"""

import json
from pathlib import Path
from typing import Any

from signalbox_common.contracts.base import REGISTRY, Request
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.streams import Topology, command_subjects

FOLDER = Path(__file__).parent / "snapshots"


def current() -> dict[str, str]:
    """By file name; contracts that tests have registered are left out."""
    found: dict[str, Any] = {}
    for subject, contract in REGISTRY.items():
        if not contract.__module__.startswith("signalbox_common."):
            continue
        about: dict[str, Any] = {"subject": subject, "schema": contract.model_json_schema()}
        if issubclass(contract, Request):
            about |= {"grant": contract.grant, "reply": contract.reply.model_json_schema()}
        if issubclass(contract, Event):
            about |= {"type": contract.type(), "dataschema": contract.schema_uri()}
        found[f"{contract.__module__.rpartition('.')[2]}.{contract.__name__}.json"] = about
    ours = Topology(commands=tuple(s for s in command_subjects() if "lab-" not in s))
    found["topology.json"] = {
        "streams": [stream.__dict__ for stream in ours.streams],
        "consumers": [consumer.__dict__ for consumer in ours.consumers()],
    }
    return {name: json.dumps(about, indent=2) + "\n" for name, about in found.items()}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    wanted = current()
    for stale in FOLDER.iterdir():
        if stale.name not in wanted:
            stale.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
