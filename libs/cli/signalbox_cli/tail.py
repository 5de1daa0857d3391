"""What `signalbox tail` shows of the stream of events."""

import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from rich.markup import escape

from signalbox_cli.live import Seen, follow_bus
from signalbox_cli.operator import Operator

_SPAN = re.compile(r"(\d{1,6})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_TOKEN = re.compile(r"[A-Za-z0-9_*-]+")
_SHOWN = 110


class BadFilter(Exception):
    """Carries what the person is to be told."""


def span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise BadFilter(f"{text!r} is no span like 30s, 10m, 2h or 7d")
    return timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


def subject_of(given: str | None, project: str | None) -> str:
    """Of a subject (`evt.*.tasks.>`), of a type, or of the beginning of types (`tasks`, `tasks.task.*`)."""
    tokens = (given or ">").split(".")
    if tokens[0] == "evt":
        owner, kind = (tokens[1:2] or ["*"])[0], tokens[2:]
        if owner == ">" and not kind:
            owner = "*"
    else:
        owner, kind = "*", tokens if len(tokens) > 1 else [*tokens, ">"]
        kind = [*kind[:-1], ">"] if kind[-1] == "*" else kind
    kind = [">"] if kind in ([], [">", ">"]) else kind
    if project is not None and owner not in ("*", project):
        raise BadFilter("the subject names another project")
    last = kind[-1:] if kind[-1] != ">" else []
    if not all(map(_TOKEN.fullmatch, (owner, *kind[:-1], *last))):
        raise BadFilter(f"{given!r} is no subject or type of events")
    return ".".join(("evt", project or owner, *kind))


async def events(
    operator: Operator, subject: str, since: timedelta | None, *, ends: bool
) -> AsyncIterator[Seen]:
    begin = datetime.now(UTC) - since if since is not None else None
    async for seen in follow_bus(operator, subject, since=begin, ends=ends):
        yield seen


def line(seen: Seen) -> str:
    """For people."""
    event = seen.event
    when = _clock(event["time"])
    project = (event["project"] or "-")[-8:]
    data = json.dumps(event["data"], ensure_ascii=False) if event["data"] is not None else ""
    shown = data if len(data) <= _SHOWN else data[: _SHOWN - 1] + "…"
    return (
        f"[dim]{when} {project}[/] [bold]{escape(_plain(event['type']))}[/] [dim]{escape(_plain(shown))}[/]"
    )


def _clock(text: str | None) -> str:
    try:
        return datetime.fromisoformat(text or "").astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return "--:--:--.---"


def _plain(text: str) -> str:
    """Nothing that a terminal would obey."""
    return "".join(character if character.isprintable() else "·" for character in text)


def as_json(seen: Seen) -> str:
    return json.dumps({**seen.event, "position": seen.position}, ensure_ascii=False)
