"""The file that the stock `nats` tool reads connections from."""

import json
import os
import re
from pathlib import Path

from signalbox_cli.operator import INBOX, Operator
from signalbox_cli.secret_files import write_secret

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class BadContextName(Exception):
    """Carries what the person is to be told."""


def write(operator: Operator, name: str, directory: Path | None, *, select: bool) -> Path:
    if _NAME.fullmatch(name) is None:
        raise BadContextName(f"{name!r} is no name of a context: letters, digits, - and _")
    server = operator.server()
    context = {
        "description": "Signalbox, as its operator",
        "url": server.address,
        "user": server.user,
        "password": server.password,
        "inbox_prefix": INBOX,
    }
    folder = directory or _folder()
    path = folder / "context" / f"{name}.json"
    write_secret(path, json.dumps(context, indent=2) + "\n")
    if select:
        write_secret(folder / "context.txt", name)
    return path


def _folder() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "nats"
