"""Waiting for a login that is approved elsewhere."""

from collections.abc import Iterator

import httpx
import pytest

from signalbox_cli.client import Client
from signalbox_cli.device import GRANT_TYPE, DeviceAuthorization, LoginFailed, wait
from signalbox_common.errors import SignalboxError

STARTED = DeviceAuthorization(
    device_code="sbx_dev_secret",
    user_code="BCDF-GHJK",
    verification_uri="http://signalbox.example/device",
    verification_uri_complete="http://signalbox.example/device?user_code=BCDF-GHJK",
    expires_in=60,
    interval=5,
)
TOKENS = {"access_token": "a", "refresh_token": "r", "token_type": "bearer", "expires_in": 900}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def time(self) -> float:
        return self.now


def refused(code: str, status: int = 400) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "error": code, "detail": "No."})


def polled(*answers: httpx.Response | Exception) -> tuple[Client, Clock]:
    left: Iterator[httpx.Response | Exception] = iter(answers)

    def handle(request: httpx.Request) -> httpx.Response:
        assert GRANT_TYPE in request.content.decode()
        assert STARTED.device_code in request.content.decode()
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Client("http://signalbox.example", transport=httpx.MockTransport(handle)), Clock()


def test_it_asks_no_more_often_than_it_may() -> None:
    http, clock = polled(
        refused("authorization_pending"),
        refused("slow_down"),
        httpx.ConnectError("away for a moment"),
        refused("unavailable", 503),
        httpx.Response(200, json=TOKENS),
    )
    session = wait(http, STARTED, sleep=clock.sleep, now=clock.time)
    assert (session.access_token, session.refresh_token) == ("a", "r")
    assert clock.pauses == [5, 5, 10, 10, 10]


@pytest.mark.parametrize(
    ("code", "words"), [("access_denied", "refused in the browser"), ("expired_token", "code has expired")]
)
def test_what_will_not_be_ends_the_wait(code: str, words: str) -> None:
    http, clock = polled(refused("authorization_pending"), refused(code))
    with pytest.raises(LoginFailed, match=words):
        wait(http, STARTED, sleep=clock.sleep, now=clock.time)


def test_nobody_waits_longer_than_the_code_is_good() -> None:
    http, clock = polled(*[refused("authorization_pending")] * 12)
    with pytest.raises(LoginFailed, match="code has expired"):
        wait(http, STARTED, sleep=clock.sleep, now=clock.time)
    assert clock.now == STARTED.expires_in


def test_an_answer_that_makes_no_sense_is_not_waited_out() -> None:
    http, clock = polled(refused("unsupported_grant_type", 422))
    with pytest.raises(SignalboxError):
        wait(http, STARTED, sleep=clock.sleep, now=clock.time)
