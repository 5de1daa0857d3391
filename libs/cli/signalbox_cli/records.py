"""What the routes of all records have in common."""

from typing import Any

from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client


def made(
    http: Client, path: str, body: dict[str, Any] | None = None, *, below: str | None = None
) -> dict[str, Any]:
    """What a request has created there, or below another path; also where that outlasts its answer."""
    answer = http.post(path, json=body)
    operation = wait_for(http, answer)
    if operation is not None:
        answer = http.get(f"{below or path}/{operation.resource}")
    found: dict[str, Any] = answer.json()
    return found
