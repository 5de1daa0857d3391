"""What `signalbox tail` takes as a filter, and what it shows of events that somebody else has written."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from signalbox_cli.live import Publication
from signalbox_cli.tail import BadFilter, as_json, line, span, subject_of

PROJECT = str(uuid.UUID(int=7))
OTHER = str(uuid.UUID(int=8))
NASTY = "\x1b[31mred\x9b2J\x07\r\n\u202e\ud800[bold]\\"


def seen(**changes: Any) -> Publication:
    event = {
        "type": "tasks.task.created",
        "project": PROJECT,
        "id": "1",
        "source": "/signalbox/tasks",
        "time": "2026-01-02T03:04:05.678901Z",
        "subject": None,
        "operation": None,
        "data": {"text": "Häuschen"},
    }
    return Publication("0011223344556677:1", event | changes)


@pytest.mark.parametrize(
    ("given", "subject"),
    [
        (None, "evt.*.>"),
        ("", "evt.*.>"),
        (">", "evt.*.>"),
        ("*", "evt.*.>"),
        ("evt", "evt.*.>"),
        ("evt.>", "evt.*.>"),
        ("evt.*.>", "evt.*.>"),
        ("evt._.>", "evt._.>"),
        (f"evt.{PROJECT}", f"evt.{PROJECT}.>"),
        (f"evt.{PROJECT.upper()}.auth.>", f"evt.{PROJECT}.auth.>"),
        ("evt.*.tasks.>", "evt.*.tasks.>"),
        ("evt.*.*.task.*", "evt.*.*.task.*"),
        ("tasks", "evt.*.tasks.>"),
        ("tasks.*", "evt.*.tasks.>"),
        ("tasks.>", "evt.*.tasks.>"),
        ("tasks.task", "evt.*.tasks.task.>"),
        ("tasks.task.*", "evt.*.tasks.task.>"),
        ("tasks.task.created", "evt.*.tasks.task.created"),
        ("*.task.created", "evt.*.*.task.created"),
        ("ext", "evt.*.ext.>"),
        ("ext.ci", "evt.*.ext.ci"),
        ("ext.ci.done", "evt.*.ext.ci.done"),
    ],
)
def test_what_a_filter_means(given: str | None, subject: str) -> None:
    assert subject_of(given, None) == subject


@pytest.mark.parametrize(
    "given",
    ["nonsense", "cmd.>", "a b", "ta*", "tasks.>.x", "evt.>.x", "..", ".", "tasks.", "evt.x", "ä", "\n"],
)
def test_what_no_filter_is(given: str) -> None:
    with pytest.raises(BadFilter):
        subject_of(given, None)


def test_one_project() -> None:
    assert subject_of("tasks", PROJECT.upper()) == f"evt.{PROJECT}.tasks.>"
    assert subject_of(f"evt.{PROJECT}.>", PROJECT) == f"evt.{PROJECT}.>"
    for given, project in ((f"evt.{OTHER}.>", PROJECT), ("evt._.>", PROJECT), (None, "x.>"), (None, "*")):
        with pytest.raises(BadFilter):
            subject_of(given, project)


def test_spans() -> None:
    assert span("30s") == timedelta(seconds=30)
    assert span(" 10m ") == timedelta(minutes=10)
    assert span("7d") == timedelta(days=7)
    assert span("999999d") == timedelta(days=3650), "as far back as anything can be"
    for nonsense in ("", "10", "m", "-1m", "1.5h", "1w", "1234567s", "١m"):
        with pytest.raises(BadFilter):
            span(nonsense)


def test_a_line_for_people() -> None:
    text = line(seen()).plain
    assert text.endswith('00000007 tasks.task.created {"text": "Häuschen"}')
    assert line(seen(project=None, data=None)).plain.endswith("- tasks.task.created")
    assert len(line(seen(data="x" * 1000)).plain) < 200


@pytest.mark.parametrize("time", [None, "", "now", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_is_none(time: str | None) -> None:
    assert line(seen(time=time)).plain.startswith(("--:--:--.---", "0", "1", "2"))


def test_nothing_that_a_terminal_would_obey_is_shown() -> None:
    nasty = seen(type=NASTY, project=NASTY, data={NASTY: NASTY})
    assert line(nasty).plain.isprintable()
    assert "[bold]" in line(nasty).plain, "what looks like markup is shown as it is"
    text = as_json(nasty)
    assert text.isprintable()
    assert json.loads(text)["data"] == {NASTY: NASTY}, "and is still the same JSON"
    assert "Häuschen" in as_json(seen())
