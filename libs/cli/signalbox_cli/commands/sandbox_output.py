"""How sandboxes, their processes and what they use are shown."""

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from rich.table import Table

from signalbox_cli.commands.common import console, fail

_WIDTH = 36
_SHOWN = 18
"""Characters of an id that tell it from others."""
_KIB = 1024


def show(sandbox: dict[str, Any], *, quiet: bool = False, as_json: bool = False) -> None:
    if as_json:
        print(json.dumps(sandbox, indent=2))
    elif quiet:
        print(sandbox["id"])
    else:
        network = sandbox["network"]
        reaches = ", ".join(network["allow"]) if isinstance(network, dict) else network
        more = f"  network: {reaches}" if reaches != "none" else ""
        console.print(f"{sandbox['id']}  {sandbox['status']}{more}", soft_wrap=True, markup=False)
        for name in sandbox.get("notEnforced", ()):
            console.print(f"  {name} is not enforced on this node", style="yellow")


def sandbox_table(found: Iterable[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="dim")
    table.add_column("sandbox", no_wrap=True, min_width=_WIDTH)
    for name in ("template", "status", "created", "until"):
        table.add_column(name)
    for each in found:
        said = each["reason"] not in (None, each["status"], "asked")
        status = f"{each['status']} ({each['reason']})" if said else each["status"]
        moments = (moment(each["createdAt"]), moment(each["deadline"]))
        table.add_row(each["id"], each["template"], status, *moments)
    return table


def process_table(found: Iterable[dict[str, Any]]) -> Table:
    table = Table("key", "state", "started", "output", "program", box=None, header_style="dim")
    for each in found:
        state = each["state"]
        if each["exitCode"] is not None:
            state = f"{state} ({each['exitCode']})"
        elif each["signal"] is not None:
            state = f"{state} (signal {each['signal']}, {each['reason']})"
        program = " ".join(each["argv"])[:60]
        table.add_row(each["key"], state, moment(each["startedAt"]), str(each["end"]), program)
    return table


def usage_table(before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="dim")
    table.add_column("sandbox", no_wrap=True, min_width=_SHOWN)
    for name in ("cpu", "memory", "disk", "processes", "out", "in", "denied"):
        table.add_column(name, justify="right", no_wrap=True)
    for sandbox, found in sorted(now.items(), key=lambda item: -_share(before.get(item[0]), item[1])):
        network = found["network"]
        table.add_row(
            sandbox[:_SHOWN],
            f"{_share(before.get(sandbox), found):.0%}",
            _size(found["memoryBytes"]),
            _size(found["diskBytes"]),
            str(found["processes"]),
            _size(network["sentBytes"]),
            _size(network["receivedBytes"]),
            str(network["denied"]),
        )
    return table


def _share(before: dict[str, Any] | None, now: dict[str, Any]) -> float:
    """Of one processor, since the look before."""
    if before is None:
        return 0.0
    seconds = (_at(now["at"]) - _at(before["at"])).total_seconds()
    return float(now["cpuSeconds"] - before["cpuSeconds"]) / seconds if seconds > 0 else 0.0


def _size(count: int) -> str:
    value, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while value >= _KIB and (larger := next(units, None)) is not None:
        value, unit = value / _KIB, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def told(events: Iterator[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    """Says it here; returns how it ended, and how many bytes were lost on the way."""
    lost = 0
    for _, name, data in events:
        match name:
            case "stdout" | "pty":
                sys.stdout.write(data["text"])
                sys.stdout.flush()
            case "stderr":
                sys.stderr.write(data["text"])
                sys.stderr.flush()
            case "gap":
                lost += data["bytes"]
                sys.stderr.write(f"[{data['bytes']} bytes are not kept any more]\n")
            case "end":
                return {**data, "lost": lost}
    raise fail("the sandbox ended before the program did")


def moment(text: str | None) -> str:
    return text[:19].replace("T", " ") if text else ""


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
