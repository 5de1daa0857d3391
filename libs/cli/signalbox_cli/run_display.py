"""A run as it goes on: a line for each step, and what its programs say."""

import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from signalbox_cli.tasks import TaskApi

_LOOK = 0.25
_LINES = 12
_MARKS = {
    "succeeded": Text("✓", "green"),
    "failed": Text("✗", "red"),
    "stopped": Text("■", "yellow"),
    "skipped": Text("–", "dim"),
    "pending": Text("·", "dim"),
}
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), 127))
"""What would speak to the terminal and not to who reads it."""

Said = tuple[str, dict[str, Any]]


class RunView(Protocol):
    def show(self, steps: list[dict[str, Any]]) -> None: ...

    def say(self, name: str, text: str) -> None: ...


class Screen:
    """Steps on top, the last lines of the log below."""

    def __init__(self) -> None:
        self._steps: list[dict[str, Any]] = []
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._rest = ""
        self._spinner = Spinner("dots")

    def show(self, steps: list[dict[str, Any]]) -> None:
        self._steps = steps

    def say(self, _name: str, text: str) -> None:
        *whole, self._rest = (self._rest + text.translate(_CONTROLS)).split("\n")
        self._lines.extend(whole)

    def __rich__(self) -> RenderableType:
        lines = [*self._lines, self._rest] if self._rest else list(self._lines)
        said = Text("\n".join(lines[-_LINES:]), "dim", no_wrap=True, overflow="ellipsis")
        return Group(step_table(self._steps, self._spinner), said)


class Lines:
    """The same where nobody looks at a terminal: a line for each change, and the log as it comes."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._known: dict[str, str] = {}

    def show(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            state = step["state"]
            if state not in ("pending", self._known.get(step["name"], "pending")):
                self._known[step["name"]] = state
                if state != "skipped":
                    self._out.print(f"{step['name']}: {state}{_after(step)}", markup=False, soft_wrap=True)

    def say(self, name: str, text: str) -> None:
        stream = sys.stderr if name == "stderr" else self._out.file
        stream.write(text)
        stream.flush()


def step_table(steps: list[dict[str, Any]], spinner: Spinner | None = None) -> Table:
    table = Table.grid(padding=(0, 2))
    for step in steps:
        state = step["state"]
        mark: RenderableType = _MARKS.get(state, Text("…", "cyan"))
        if state == "running" and spinner is not None:
            mark = spinner
        detail = (step["error"] or {}).get("detail") or step["detail"] or ""
        style = "red" if state == "failed" else "dim" if state in ("pending", "skipped") else ""
        took = f"{seconds_of(step):.1f} s" if step["startedAt"] else ""
        name = Text(step["name"], style)
        table.add_row(mark, name, Text(took, "dim", justify="right"), Text(detail.translate(_CONTROLS)))
    return table


def seconds_of(step: dict[str, Any]) -> float:
    end = datetime.fromisoformat(step["finishedAt"]) if step["finishedAt"] else datetime.now(UTC)
    return max(0.0, (end - datetime.fromisoformat(step["startedAt"])).total_seconds())


def _after(step: dict[str, Any]) -> str:
    if not step["finishedAt"]:
        return ""
    detail = (step["error"] or {}).get("detail") or step["detail"] or ""
    return f" ({seconds_of(step):.1f} s){': ' + detail if detail else ''}"


def print_diff(text: str, out: Console) -> None:
    """In colours, where somebody looks; as it is, where a program reads it."""
    if out.is_terminal:
        out.print(Syntax(text.rstrip("\n"), "diff", background_color="default", word_wrap=False))
    else:
        out.file.write(text)


def watch(api: TaskApi, run: str, view: RunView) -> dict[str, Any]:
    """To its end: shows what is new; the run as it is then."""
    said: queue.Queue[Said | Exception] = queue.Queue()
    threading.Thread(target=_listen, args=(api, run, said.put), daemon=True).start()
    ended = False
    while not ended:
        view.show(api.steps(run))
        ended = _hear(said, view, time.monotonic() + _LOOK)
    view.show(api.steps(run))
    return api.run(run)


def _listen(api: TaskApi, run: str, put: Callable[[Said | Exception], None]) -> None:
    try:
        for each in api.follow(run):
            put(each)
    except Exception as error:  # noqa: BLE001 - raised where somebody waits for it
        put(error)


def _hear(said: "queue.Queue[Said | Exception]", view: RunView, until: float) -> bool:
    """Whether that was all."""
    while (left := until - time.monotonic()) > 0:
        try:
            found = said.get(timeout=left)
        except queue.Empty:
            return False
        if isinstance(found, Exception):
            raise found
        name, data = found
        if name == "end":
            return True
        view.say(name, data["text"] if name != "gap" else f"[{data['bytes']} bytes are not kept]\n")
    return False


@contextmanager
def view_for(out: Console, *, live: bool) -> Iterator[RunView]:
    if not (live and out.is_terminal):
        yield Lines(out)
        return
    screen = Screen()
    with Live(screen, console=out, refresh_per_second=12):
        yield screen
