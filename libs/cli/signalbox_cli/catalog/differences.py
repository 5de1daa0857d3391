"""What differs, for people to read."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from signalbox_cli.catalog.documents import to_yaml
from signalbox_cli.catalog.formatting import harmless
from signalbox_common.contracts.catalog import Change

Line = tuple[str, str]
"""A style, and a text."""

SIGNS = {"add": "+", "remove": "-", "replace": "~"}
STYLES = {"+": "green", "-": "red", "~": "yellow", "@": "cyan"}
KEY = "***"


def lines(changes: Sequence[Change]) -> Iterator[Line]:
    """Each change with its place, and below it what was and what is."""
    for change in changes:
        if change.op != "replace" and _is_empty(change.new if change.op == "add" else change.old):
            continue
        sign = SIGNS[change.op]
        yield STYLES[sign], harmless(f"{sign} {change.path or '/'}")
        for line in _below(change):
            yield STYLES.get(line[0], ""), f"    {harmless(line)}"


def _below(change: Change) -> Iterator[str]:
    if change.op == "add":
        yield from _signed("+", change.new)
    elif change.op == "remove":
        yield from _signed("-", change.old)
    elif change.old == KEY == change.new:
        yield "~ a stored key, which nobody is shown"
    elif _is_long(change.old) and _is_long(change.new):
        yield from _unified(change.old, change.new)
    else:
        yield from _signed("-", change.old)
        yield from _signed("+", change.new)


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _is_empty(value: Any) -> bool:
    """What nobody has said: labels that are none, a name to show that is null."""
    return isinstance(value, dict) and bool(value) and not _said(value)


def _said(value: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in value.items() if each not in (None, {})}


def _unified(old: str, new: str) -> Iterator[str]:
    if old.endswith("\n") and new.endswith("\n"):
        old, new = old[:-1], new[:-1]
    found = difflib.unified_diff(old.split("\n"), new.split("\n"), lineterm="", n=3)
    for number, line in enumerate(found):
        if number > 1:  # the first two name files
            yield line


def _signed(sign: str, value: Any) -> Iterator[str]:
    shown = _said(value) if isinstance(value, dict) and value else value
    written = str(shown) if _is_long(shown) else to_yaml(shown).removesuffix("\n").removesuffix("\n...")
    for line in written.split("\n"):
        yield f"{sign} {line}"
