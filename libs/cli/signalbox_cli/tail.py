"""What `signalbox tail` shows of the stream of events."""

import asyncio
import json
import os
import re
import stat
import sys
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from rich.text import Text

from signalbox_cli.live import Publication, follow_bus
from signalbox_cli.operator import Operator
from signalbox_common.contracts.base import PLATFORM
from signalbox_common.keys import is_canonical_uuid
from signalbox_common.programs import OWNERS

_SPAN = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=3650)
_TOKEN = re.compile(r"\*|[A-Za-z0-9_-]+")
_OUTSIDE = "ext"
_TYPE_LENGTH = 3
"""Words in the type of an event of our own: its service, what it is about, and what happened."""
_SHOWN = 110


class BadFilter(Exception):
    """Carries what the person is to be told."""


def span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise BadFilter(f"{text!r} is no span like 30s, 10m, 2h or 7d")
    return min(timedelta(**{_UNITS[match.group(2)]: int(match.group(1))}), _LONGEST)


def subject_of(given: str | None, project: str | None) -> str:
    """Of a subject (`evt.*.tasks.>`), of a type, or of the beginning of types (`tasks`, `tasks.task.*`)."""
    tokens = (given or ">").split(".")
    if tokens[0] == "evt":
        owner, kind = tokens[1] if len(tokens) > 1 else "*", tokens[2:] or [">"]
        owner = "*" if (owner, kind) == (">", [">"]) else owner
    else:
        owner, kind = "*", _kind(tokens)
    words = kind[:-1] if kind[-1] == ">" else kind
    if not all(map(_TOKEN.fullmatch, words)):
        raise BadFilter(f"{given!r} is no subject or type of events")
    if words and words[0] not in ("*", _OUTSIDE, *OWNERS):
        known = ", ".join((*OWNERS, _OUTSIDE))
        raise BadFilter(f"there are no events of {words[0]!r}: types begin with {known}")
    if owner not in ("*", PLATFORM):
        owner = _project(owner)
    if project is not None:
        wanted = _project(project)
        if owner not in ("*", wanted):
            raise BadFilter("the subject names another project")
        owner = wanted
    return ".".join(("evt", owner, *kind))


def _kind(tokens: list[str]) -> list[str]:
    """A `*` at the end, or a type that is not whole, stands for all that begin so."""
    if tokens[-1] == ">":
        return tokens
    if tokens[-1] == "*":
        return [*tokens[:-1], ">"]
    whole = len(tokens) > 1 if tokens[0] == _OUTSIDE else len(tokens) >= _TYPE_LENGTH
    return tokens if whole else [*tokens, ">"]


def _project(text: str) -> str:
    lowered = text.lower()
    if not is_canonical_uuid(lowered):
        raise BadFilter(f"{text!r} is no id of a project, like {uuid.UUID(int=0)}")
    return lowered


def events(
    operator: Operator, subject: str, since: timedelta | None, *, ends: bool
) -> AsyncGenerator[Publication, None]:
    begin = datetime.now(UTC) - since if since is not None else None
    return follow_bus(operator, subject, since=begin, ends=ends)


@contextmanager
def while_read(stop: Callable[[], object]) -> Iterator[None]:
    """Stops when nobody reads our output any more, also while there is nothing to write."""
    loop = asyncio.get_running_loop()
    try:
        output = sys.stdout.fileno()
        watched = stat.S_ISFIFO(os.fstat(output).st_mode)
        if watched:
            loop.add_reader(output, stop)  # the end to write to is only ever ready to tell that
    except (OSError, ValueError):
        watched = False
    try:
        yield
    finally:
        if watched:
            loop.remove_reader(output)


def line(publication: Publication) -> Text:
    """For people."""
    event = publication.event
    when = _clock(event["time"])
    project = (event["project"] or "-")[-8:]
    data = json.dumps(event["data"], ensure_ascii=False) if event["data"] is not None else ""
    shown = data if len(data) <= _SHOWN else data[: _SHOWN - 1] + "…"
    parts = ((f"{when} {project}", "dim"), (event["type"], "bold"), (shown, "dim"))
    return Text(" ").join(Text(_plain(each), style) for each, style in parts if each)


def _clock(text: str | None) -> str:
    try:
        return datetime.fromisoformat(text or "").astimezone().strftime("%H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError):
        return "--:--:--.---"


def _plain(text: str) -> str:
    """Nothing that a terminal would obey."""
    return "".join(character if character.isprintable() else "·" for character in text)


def as_json(publication: Publication) -> str:
    """One line, with escapes for what a terminal would obey."""
    text = json.dumps({**publication.event, "position": publication.position}, ensure_ascii=False)
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)
