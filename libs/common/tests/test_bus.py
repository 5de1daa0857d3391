"""What is checked about messages before anything is done with them."""

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from signalbox_common import cloudevents
from signalbox_common.bus import headers
from signalbox_common.bus.durable import PermanentFailure, describe
from signalbox_common.bus.facts import project_of
from signalbox_common.contracts.auth import ProjectCreated, UserRegistered
from signalbox_common.contracts.base import Failure
from signalbox_common.db import is_contention, is_outage
from signalbox_common.errors import AlreadyDone, NotFound, SignalboxError, Unavailable
from signalbox_common.keys import uuid7


@pytest.mark.parametrize(
    ("subject", "good"),
    [
        ("reply.0123456789ab.0123456789abcdef", True),
        ("reply.*.x", False),
        ("reply.0123456789ab.>", False),
        ("reply.0123456789ab.0123456789abcdef.more", False),
        ("evt._.auth.user.registered", False),
        ("_INBOX.gateway.abc", False),
        ("", False),
        ("reply.0123456789ab.0123456789abcdef\r\nPUB evt.x 0", False),
    ],
)
def test_only_our_own_reply_subjects_are_used(subject: str, good: bool) -> None:
    assert headers.is_reply_subject(subject) is good


def test_events_are_cloudevents_and_carry_no_grant() -> None:
    project, event_id = uuid7(), uuid7()
    event = ProjectCreated(id=project, name="n", slug="s", created_by=uuid7())
    made = cloudevents.headers_of(event, event_id, "auth", actor=uuid7(), operation="op_1")
    assert made["ce-specversion"] == "1.0"
    assert made["ce-type"] == "auth.project.created"
    assert made["ce-id"] in made["Nats-Msg-Id"]
    assert headers.GRANT not in made
    context = cloudevents.context_of(made)
    assert (context.id, context.type, context.operation) == (event_id, "auth.project.created", "op_1")
    assert event.subject_in(project) == f"evt.{project}.auth.project.created"
    assert UserRegistered.subject.replace("*", "_") == "evt._.auth.user.registered"


@pytest.mark.parametrize(
    "broken", [{"ce-specversion": "0.3"}, {"ce-id": "*"}, {"ce-id": ""}, {"ce-type": ""}, {"ce-id": "ABC"}]
)
def test_what_is_no_cloudevent_is_refused(broken: dict[str, str]) -> None:
    event = UserRegistered(id=uuid7(), username="x")
    with pytest.raises(ValueError, match=r"CloudEvent|ce-id"):
        cloudevents.context_of(cloudevents.headers_of(event, uuid7(), "auth") | broken)


def test_the_project_of_an_event_is_what_its_subject_says() -> None:
    project = uuid7()
    assert project_of(f"evt.{project}.auth.project.created") == project
    assert project_of("evt._.auth.user.registered") is None
    with pytest.raises(PermanentFailure):
        project_of("evt.default.auth.project.created")


def test_errors_survive_the_wire() -> None:
    error = AlreadyDone("Taken.", resource="r-1")
    back = SignalboxError.of(Failure.model_validate_json(error.failure().encode()))
    assert (back.status, back.code, back.detail, back.resource) == (409, "already_done", "Taken.", "r-1")
    assert back.final
    assert not Unavailable().final
    assert NotFound().final


class _Driver(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (PoolTimeout(), True),
        (ConnectionRefusedError(), True),
        (OSError("no route"), True),
        (asyncpg.CannotConnectNowError("starting"), True),
        (asyncpg.ConnectionDoesNotExistError("gone"), True),
        (DBAPIError("s", {}, _Driver("57P01")), True),
        (OperationalError("s", {}, _Driver(None)), True),
        (DBAPIError("s", {}, _Driver(None), connection_invalidated=True), True),
        (IntegrityError("s", {}, _Driver("23505")), False),
        (DBAPIError("s", {}, _Driver("40001")), False),
        (FileNotFoundError("ours"), False),
        (ValueError("ours"), False),
        (KeyError("ours"), False),
    ],
)
def test_an_outage_is_told_from_a_mistake(error: Exception, outage: bool) -> None:
    assert is_outage(error) is outage


def test_contention_is_neither() -> None:
    assert is_contention(DBAPIError("s", {}, _Driver("40P01")))
    assert not is_contention(IntegrityError("s", {}, _Driver("23505")))


def test_dead_letters_are_described_in_words() -> None:
    about = describe({headers.REASON: "malformed", headers.ERROR: "one\\ntwo", headers.ATTEMPTS: "3"})
    assert about["reason"] == "malformed"
    assert about["error"] == "one\ntwo"
    assert about["attempts"] == 3
