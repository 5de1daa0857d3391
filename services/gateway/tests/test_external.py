"""Who published an event from outside: what the stream knows, whatever the event says."""

import uuid

import pytest

from signalbox_gateway.external import BadEvent, ExternalEvent, Reader

PROJECT = uuid.UUID("0a000000-0000-7000-8000-00000000000a")
USER, OTHER = (uuid.UUID(f"0b000000-0000-7000-8000-00000000000{letter}") for letter in "ab")
READER = Reader("a key that is long enough for anybody")


def of(where: str, source: str, **more: str) -> ExternalEvent:
    said = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "ext.ci.done", "ce-source": source} | more
    return READER.of_message(f"{where}.{PROJECT}.ci.done", said, b"{}")


@pytest.mark.parametrize(
    "forged",
    [
        f"/projects/{PROJECT}/users/{USER}",
        f"/projects/{PROJECT}/publishers/ci",
        f"/projects/{PROJECT}/publishers/ci#/ci",
        f"/projects/{PROJECT}",
        "/ci",
        "https://ci.example/a b?c=%20#d",
    ],
)
@pytest.mark.parametrize(
    ("where", "stamp"),
    [
        ("ext", "publishers"),
        ("ext.publishers.lab", "publishers/lab"),
        (f"ext.users.{OTHER}", f"users/{OTHER}"),
    ],
)
def test_the_source_is_who_published_it(where: str, stamp: str, forged: str) -> None:
    event = of(where, forged, **{"ce-claimedsource": "/another"})
    begin, _, rest = event.stored()["ce-source"].partition("#")
    assert begin == f"/projects/{PROJECT}/{stamp}"
    assert rest
    assert not set(rest) & set(" #")
    assert event.stored()["ce-claimedsource"] == forged
    assert event.told_on == f"evt.{PROJECT}.ext.ci.done"


def test_nobody_takes_another_events_id() -> None:
    """Not even with an escaped text in place of what it stands for."""
    places = ("ext", "ext.publishers.ci", "ext.publishers.ci-2", f"ext.users.{USER}", f"ext.users.{OTHER}")
    sources = ("/ci", "#", "%23", " ", "%20", f"/projects/{PROJECT}/publishers/ci#/ci")
    ids = {of(place, source).message_id for place in places for source in sources}
    assert len(ids) == len(places) * len(sources)
    assert of("ext.publishers.ci", "/ci").message_id in ids


def test_who_names_no_source_over_http_is_the_source() -> None:
    event = READER.of_json(PROJECT, {"type": "ext.ci.done"}, user=USER, event_id="1")
    assert event.taken_in_on == f"ext.users.{USER}.{PROJECT}.ci.done"
    taken_in = READER.of_message(event.taken_in_on, event.headers(), event.data)
    assert taken_in.stored()["ce-source"] == f"/projects/{PROJECT}/users/{USER}"


@pytest.mark.parametrize(
    "subject",
    [
        "ext.publishers.ci.done",
        f"ext.publishers.{PROJECT}",
        f"ext.publishers.ci.{PROJECT}",
        f"ext.users..{PROJECT}.ci.done",
        f"ext.publishers.c#i.{PROJECT}.ci.done",
        f"ext.others.ci.{PROJECT}.ci.done",
        f"ext.ci.{PROJECT}.ci.done",
        "ext.users",
        f"ext.{PROJECT}",
    ],
)
def test_a_subject_that_names_nobody_is_refused(subject: str) -> None:
    said = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "ext.ci.done", "ce-source": "/ci"}
    with pytest.raises(BadEvent):
        READER.of_message(subject, said, b"{}")
