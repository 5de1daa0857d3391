"""What notifications are made of: addresses, signatures, pauses, and what is shown of answers."""

import base64
import ipaddress
import json
import unicodedata
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signalbox_common.addresses import PrivateHosts
from signalbox_common.contracts.tasks import NoticeStatus, NotifiedStatus
from signalbox_tasks import notifications as rules
from signalbox_tasks.notifications import Attempt, BadEndpoint, Endpoint, Notice, Notification

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
PUBLIC = PrivateHosts()


def notification() -> Notification:
    return Notification(
        id=uuid.UUID(int=1),
        project_id=uuid.UUID(int=2),
        name="n",
        url="https://example.com/",
        states=(NotifiedStatus.FAILED,),
        paused=False,
        secret=uuid.UUID(int=3),
        created_by=uuid.UUID(int=4),
        created_at=NOW,
        updated_at=NOW,
    )


def notice(kind: str = "tasks.task.failed") -> Notice:
    return Notice(
        id=uuid.UUID("c9b1a0de-0000-7000-8000-000000000001"),
        notification_id=uuid.UUID(int=1),
        project_id=uuid.UUID(int=2),
        sequence=17,
        type=kind,
        data={"title": "Über"},
        status=NoticeStatus.PENDING,
        created_at=NOW,
    )


def failed(status: int = 500, retry_after: float | None = None) -> Attempt:
    return Attempt(status, 3, f"It answered {status}.", retry_after=retry_after)


@given(st.text(max_size=80) | st.from_regex(r"https?://[!-~]{1,60}", fullmatch=True))
@example("https://a.example:443?x=1")
@example("HTTP://A.Example.:080/%2e%2e/")
def test_what_is_taken_leads_where_it_says(text: str) -> None:
    """As others read it, too: no reader sees another host in it."""
    try:
        found = Endpoint.read(text)
    except BadEndpoint:
        return
    shown = str(found)
    read = urlsplit(shown)
    assert (read.scheme, read.hostname, read.username, read.fragment) == (found.scheme, found.host, None, "")
    assert (read.port or {"http": 80, "https": 443}[read.scheme]) == found.port
    assert Endpoint.read(shown) == found
    assert "@" not in read.netloc


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[fd00::1]", "[::ffff:7f00:1]", "0.0.0.0"]
)
def test_private_addresses(host: str) -> None:
    found = Endpoint.read(f"http://{host}:8080/")
    assert not found.is_reachable(PUBLIC)
    assert found.is_reachable(PrivateHosts(frozenset(), (ipaddress.ip_network(found.host),)))
    assert Endpoint.read("https://93.184.215.14/").is_reachable(PUBLIC)
    assert Endpoint.read("https://localhost/").is_reachable(PUBLIC), "a name is resolved when it is sent"


def test_signed_as_standard_webhooks_has_it() -> None:
    """The example of its specification."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'

    class Known(uuid.UUID):
        def __str__(self) -> str:
            return "msg_p5jXN8AQM9LWM0D4loKWxJek"

    said = rules.signature([secret], Known(int=0), 1614265330, body)
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    new = rules.new_secret(bytes(range(32)))
    both = rules.signature([new, secret], Known(int=0), 1614265330, body)
    assert both.split(" ")[1] == said
    assert base64.b64decode(new.removeprefix("whsec_"), validate=True) == bytes(range(32))


def test_the_body_is_the_same_for_each_try() -> None:
    first = notice()
    tried = first.after(failed(), NOW)
    assert tried.body() == first.body()
    told = json.loads(first.body())
    assert (told["id"], told["sequence"], told["time"]) == (
        str(first.id),
        "0" * 18 + "17",
        "2026-11-30T12:00:00Z",
    )


def test_twelve_tries_in_a_day() -> None:
    now, found = NOW, notice()
    while found.next_at is not None or not found.attempts:
        now = found.next_at or now
        found = found.after(failed(), now)
    assert (found.attempts, found.status) == (12, NoticeStatus.DEAD)
    assert timedelta(hours=19) < now - NOW < timedelta(hours=25)
    again = found.wanted_again(now)
    assert again.after(failed(), now).next_at is not None, "it is tried as often once more"
    assert again.after(Attempt(200, 3), now).status is NoticeStatus.DELIVERED
    assert notice().after(failed(410), NOW).status is NoticeStatus.DEAD
    assert notice(rules.PING).after(failed(), NOW).status is NoticeStatus.DEAD


def test_who_fails_is_left_alone_longer_each_time() -> None:
    found, rests = notification(), []
    for _ in range(rules.MOST_FAILURES):
        assert not found.paused
        found = found.after(failed(), NOW, is_ping=False)
        assert found.rest_until is not None
        rests.append((found.rest_until - NOW).total_seconds())
    assert rests[:9] == [*rules.RESTS, rules.RESTS[-1]]
    assert (found.paused, found.version) == (True, 2)
    assert sum(rests) > 6 * 3600, "who is away for a night is not given up"
    good = found.after(Attempt(204, 3), NOW, is_ping=True)
    assert (good.failures, good.rest_until, good.paused) == (0, None, True)
    late = notification().after(failed(503, retry_after=600.0), NOW, is_ping=False)
    assert late.rest_until == NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("999999999", 3600),
        ("-5", None),
        ("1e3", None),
        ("Mon, 30 Nov 2026 12:01:00 GMT", 60),
        ("Mon, 30 Nov 2026 11:00:00 GMT", 0),
        ("Mon, 30 Nov 2099 11:00:00 GMT", 3600),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_when_to_come_again(header: str | None, seconds: int | None) -> None:
    assert rules.retry_after(header, NOW) == seconds


@given(st.binary(max_size=5000))
@example("\x1b]0;title\x07\u202eright to left\u2028next\ud7ff".encode())
def test_what_is_shown_of_an_answer(raw: bytes) -> None:
    shown = rules.excerpt_of(raw)
    assert shown is None or (0 < len(shown) <= 500 and shown == " ".join(shown.split()))
    assert all(unicodedata.category(each)[0] != "C" for each in shown or "")
