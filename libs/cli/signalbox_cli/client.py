"""The gateway as commands speak to it: for whoever is logged in, or with an API token."""

import asyncio
import json
import os
import platform
import time
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
from pydantic import Field, ValidationError

from signalbox_cli.session import NotLoggedIn, Session, SessionError, Sessions
from signalbox_cli.stack.home import Home
from signalbox_common.contracts.base import Failure, Message
from signalbox_common.errors import SignalboxError

DEFAULT_URL = "http://127.0.0.1:8000"
TOKEN = "SIGNALBOX_TOKEN"  # noqa: S105 - the name of a variable, no secret
TIMEOUT = 30.0
_AGENT = f"signalbox-cli ({platform.system()})"
MARGIN = 30.0
"""Seconds before its end at which an access token is not used any more."""
REFRESH_TIMEOUT = 6.0
REFRESH_AGAIN = 8.0
"""Seconds in which a refresh token may be shown again to hear what became of it; auth allows ten."""


class Tokens(Message):
    """What a session begins or goes on with; OAuth's names for it are taken, too."""

    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    expires_in: int

    def session(self) -> Session:
        return Session(
            access_token=self.access_token,
            refresh_token=self.refresh_token,
            expires_at=time.time() + self.expires_in,
        )


def find_url(given: str | None = None) -> str:
    """What was given, or else where the stack of this home runs, or else where stacks usually do."""
    return _sound(given or _running() or DEFAULT_URL)


def _running() -> str | None:
    home = Home.find()
    try:
        return home.url_file.read_text(encoding="utf-8") if home.is_locked() else None
    except OSError:
        return None  # it is just starting, or somebody else's


def _sound(text: str) -> str:
    """One spelling of each address, since sessions are found by it."""
    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise SessionError(f"{text!r} is no address like {DEFAULT_URL}")
    return str(url).rstrip("/")


class Client(httpx.Client):
    """Raises every refusal as a `SignalboxError`, in the words of who refused."""

    def __init__(
        self, url: str, *, auth: httpx.Auth | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        super().__init__(
            base_url=url, auth=auth, transport=transport, timeout=TIMEOUT, headers={"User-Agent": _AGENT}
        )

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        response = super().send(request, **options)
        if response.is_success:
            return response
        response.read()
        raise _refusal(response)

    def events(self, method: str, path: str, **more: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Of a stream of them: the id of each, its name, and its data."""
        timeout = httpx.Timeout(TIMEOUT, read=60.0)  # there is a sign of life every 15 seconds
        headers = {"Accept": "text/event-stream", **more.pop("headers", {})}
        with self.stream(method, path, headers=headers, timeout=timeout, **more) as answer:
            name = last = ""
            for line in answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "id":
                    last = value
                elif field == "event":
                    name = value
                elif field == "data" and name == "error":
                    raise SignalboxError.of(Failure.model_validate_json(value))
                elif field == "data":
                    yield last, name, json.loads(value)


class ForeignAnswer(SignalboxError):
    """Whoever has answered is not our gateway, or stands before it."""

    code = SignalboxError.code

    def __init__(self, response: httpx.Response, said: str) -> None:
        super().__init__(f"{response.request.url.host} answers {said}: is this Signalbox?")
        self.status = response.status_code


def _refusal(response: httpx.Response) -> SignalboxError:
    try:
        return SignalboxError.of(Failure.model_validate_json(response.content))
    except ValidationError:
        pass
    said = f"{response.status_code} {response.reason_phrase}".strip()
    if response.has_redirect_location:
        said += f", go to {response.headers['location']}"
    return ForeignAnswer(response, said)


def open_client(url: str, transport: httpx.BaseTransport | None = None) -> Client:
    """Speaks with the token in `SIGNALBOX_TOKEN`, or else for whoever is logged in there."""
    if (token := api_token()) is not None:
        return Client(url, auth=_TokenAuth(token), transport=transport)
    return open_session(url, Sessions(), transport)


def open_async_client(url: str) -> httpx.AsyncClient:
    """The same for programs that wait for many things at once; refusals are answers here.

    `signalbox_cli.live.follow` takes it.
    """
    token = api_token()
    auth = _TokenAuth(token) if token is not None else _SessionAuth(url, Sessions(), None)
    return httpx.AsyncClient(base_url=url, auth=auth, timeout=TIMEOUT, headers={"User-Agent": _AGENT})


def open_session(url: str, sessions: Sessions, transport: httpx.BaseTransport | None = None) -> Client:
    """Speaks for whoever is logged in there, whatever the environment says."""
    return Client(url, auth=_SessionAuth(url, sessions, transport), transport=transport)


def api_token() -> str | None:
    path = os.environ.get(f"{TOKEN}_FILE")
    try:
        text = Path(path).read_text(encoding="utf-8") if path else os.environ.get(TOKEN, "")
    except OSError as error:
        raise SessionError(f"{path} cannot be read: {error.strerror}") from error
    token = text.strip()
    if not (token.isascii() and token.isprintable()):
        raise SessionError(f"what {TOKEN} holds is no token")
    return token or None


class _TokenAuth(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


class _SessionAuth(httpx.Auth):
    """With an access token that is renewed shortly before its end, or once it is refused."""

    def __init__(self, url: str, sessions: Sessions, transport: httpx.BaseTransport | None) -> None:
        self._url = url
        self._sessions = sessions
        self._transport = transport

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        session = self._current()
        request.headers["Authorization"] = f"Bearer {session.access_token}"
        response = yield request
        if response.status_code == 401:
            request.headers["Authorization"] = f"Bearer {self._renewed(session).access_token}"
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Waits for other commands, and for new tokens, beside the loop."""
        session = await asyncio.to_thread(self._current)
        request.headers["Authorization"] = f"Bearer {session.access_token}"
        response = yield request
        if response.status_code == 401:
            renewed = await asyncio.to_thread(self._renewed, session)
            request.headers["Authorization"] = f"Bearer {renewed.access_token}"
            yield request

    def _current(self) -> Session:
        session = self._sessions.get(self._url)
        return self._renewed(session) if session.expires_at - MARGIN < time.time() else session

    def _renewed(self, session: Session) -> Session:
        return self._sessions.renewed(self._url, session, self._exchange)

    def _exchange(self, refresh_token: str) -> Session:
        """Asks again where the answer was lost, as long as it is told again."""
        last = time.monotonic() + REFRESH_AGAIN
        with Client(self._url, transport=self._transport) as http:
            while True:
                try:
                    answer = http.post(
                        "/api/v1/auth/refresh", json={"refreshToken": refresh_token}, timeout=REFRESH_TIMEOUT
                    )
                    return Tokens.model_validate_json(answer.content).session()
                except httpx.ConnectError:
                    raise
                except httpx.TransportError:
                    if time.monotonic() > last:
                        raise
                except SignalboxError as error:
                    if error.status == 401:
                        raise NotLoggedIn(self._url, "your session has ended") from None
                    if error.final or time.monotonic() > last:
                        raise
                time.sleep(0.2)
