"""The log of a running stack, for people: one coloured line per event."""

import json
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

_COLOURS = {
    "gateway": "bright_cyan",
    "fanout": "bright_black",
    "auth": "bright_magenta",
    "catalog": "bright_blue",
    "tasks": "bright_green",
    "sandbox": "bright_yellow",
    "git": "cyan",
    "postgres": "blue",
    "redis": "red",
    "nats": "green",
    "signalbox": "bold white",
}
_LEVELS = {"warning": "yellow", "error": "bold red", "critical": "bold red", "debug": "dim"}
_QUIET = frozenset(
    {
        "event",
        "level",
        "timestamp",
        "service",
        "instance",
        "logger",
        "correlation_id",
        "trace_id",
        "exception",
    }
)
ROTATE_AT = 32 * 1024 * 1024


class LogView:
    """Prints what the programs write to their log files, and keeps those files small."""

    def __init__(self, console: Console, folder: Path, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self.pause = 2.0 if quiet else 0.1
        """Between two looks: where nobody reads along, they only keep files small."""
        self._folder = folder
        self._positions: dict[str, int] = {}

    def file(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def skip_to_end(self, name: str) -> None:
        path = self.file(name)
        self._positions[name] = path.stat().st_size if path.exists() else 0

    def show_new(self) -> None:
        for name, position in list(self._positions.items()):
            path = self.file(name)
            try:
                size = path.stat().st_size
                if size == position:
                    continue
                self._positions[name] = size if self._quiet else self._show(name, path, position)
            except FileNotFoundError:
                continue
            if self._positions[name] > ROTATE_AT:
                self._rotate(name, path)

    def _show(self, name: str, path: Path, position: int) -> int:
        """Prints the whole lines from there on; answers where the rest begins."""
        with path.open("rb") as file:
            file.seek(position)
            complete, found, _ = file.read(1024 * 1024).rpartition(b"\n")
        for line in complete.decode(errors="replace").splitlines():
            self._console.print(render(name, line), soft_wrap=True)
        return position + len(complete) + len(found)

    def _rotate(self, name: str, path: Path) -> None:
        """The programs append, so the file can be cut under them."""
        path.with_suffix(".log.1").write_bytes(path.read_bytes())
        with path.open("r+b") as file:
            file.truncate(0)
        self._positions[name] = 0

    def say(self, text: str, style: str = "") -> None:
        line = Text(datetime.now(UTC).strftime("%H:%M:%S.%f")[:-3], "dim")
        line.append("  signalbox  ", _COLOURS["signalbox"])
        line.append(text, style)
        self._console.print(line, soft_wrap=True)


def render(name: str, line: str) -> Text:
    """One log line: time, who, what, and the rest as key=value."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        return Text.assemble((" " * 14, ""), (f"{name:<9}  ", _COLOURS.get(name, "")), (line, "dim"))
    stamp = str(event.get("timestamp", ""))[11:23]
    style = _LEVELS.get(str(event.get("level")), "")
    text = Text.assemble((f"{stamp:<12}  ", "dim"), (f"{name:<9}  ", _COLOURS.get(name, "")))
    text.append(str(event.get("event", "")), style)
    for key, value in event.items():
        if key not in _QUIET:
            text.append(f"  {key}=", "dim")
            text.append(str(value))
    if "exception" in event:
        text.append(f"\n{event['exception']}", "dim")
    return text
