"""Sessions in their file, and the client that lives on them."""

import json
import signal
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from signalbox_cli import client
from signalbox_cli.client import Client, find_url, open_client, open_session
from signalbox_cli.session import NotLoggedIn, Session, SessionError, Sessions, config_folder
from signalbox_cli.stack.home import Home
from signalbox_common.errors import SignalboxError

URL = "http://signalbox.example"
ME = "/api/v1/auth/me"


def session(number: int = 0, *, expires_in: float = 900.0) -> Session:
    return Session(
        access_token=f"access-{number}",
        refresh_token=f"refresh-{number}",
        expires_at=time.time() + expires_in,
    )


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path / "config")


@pytest.fixture(autouse=True)
def nobody_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGNALBOX_TOKEN", "SIGNALBOX_TOKEN_FILE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SIGNALBOX_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("SIGNALBOX_HOME", str(tmp_path / "home"))


class Server:
    """Takes each refresh token once, and only the newest access token."""

    def __init__(self) -> None:
        self.number = 0
        self.shown: list[str] = []
        self.ended = False
        self.meanwhile: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            if request.url.path == "/api/v1/auth/refresh":
                return self._refresh(json.loads(request.content)["refreshToken"])
            return self._answer(request.headers["Authorization"])

    def _refresh(self, token: str) -> httpx.Response:
        self.shown.append(token)
        if self.ended or token != f"refresh-{self.number}":
            self.ended = True
            return problem(401, "refresh_token_reused", "It was used before.")
        self.meanwhile()
        self.number += 1
        body = {"accessToken": f"access-{self.number}", "refreshToken": f"refresh-{self.number}"}
        return httpx.Response(200, json=body | {"expiresIn": 900})

    def _answer(self, authorization: str) -> httpx.Response:
        if self.ended or authorization != f"Bearer access-{self.number}":
            return problem(401, "token_expired", "The token has expired.")
        return httpx.Response(200, json={"speaks": authorization})

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)


def problem(status: int, code: str, detail: str) -> httpx.Response:
    return httpx.Response(status, json={"status": status, "code": code, "detail": detail})


def test_sessions_are_for_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "config"
    sessions = Sessions(folder)
    sessions.put(URL, session(1))
    sessions.put("http://elsewhere", session(2))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name for path in folder.iterdir()} == {"sessions.json", "sessions.lock"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    sessions.forget(URL)
    assert sessions.find(URL) is None
    assert sessions.get("http://elsewhere").access_token == "access-2"
    with pytest.raises(NotLoggedIn, match=f"signalbox login --url {URL}"):
        sessions.get(URL)


def test_looking_for_a_session_leaves_nothing_behind(tmp_path: Path, sessions: Sessions) -> None:
    assert sessions.find(URL) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{broken", "[]", json.dumps({URL: {"access_token": "very-secret"}})])
def test_a_broken_file_is_named_and_not_quoted(tmp_path: Path, sessions: Sessions, content: str) -> None:
    sessions.check()
    path = tmp_path / "config" / "sessions.json"
    path.write_text(content)
    for work in (sessions.check, lambda: sessions.get(URL), lambda: sessions.put(URL, session())):
        with pytest.raises(SessionError, match=r"sessions\.json is broken") as caught:
            work()
        assert "secret" not in str(caught.value)
    assert path.read_text() == content


def test_where_sessions_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config_folder() == tmp_path / "config"
    monkeypatch.delenv("SIGNALBOX_CONFIG_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert config_folder() == tmp_path / "me" / ".config" / "signalbox"
    monkeypatch.setenv("XDG_CONFIG_HOME", "not/absolute")
    assert config_folder() == tmp_path / "me" / ".config" / "signalbox"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert config_folder() == tmp_path / "xdg" / "signalbox"


def test_a_place_that_will_not_do_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SessionError, match=str(tmp_path / "file")):
        Sessions(tmp_path / "file").check()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.raises(SessionError, match=f"others can write to {shared}"):
        Sessions(shared).put(URL, session())
    assert stat.S_IMODE(shared.stat().st_mode) == 0o777, "it is somebody's, and stays as it is"
    assert list(shared.iterdir()) == []


def test_many_commands_show_a_refresh_token_once(tmp_path: Path, sessions: Sessions) -> None:
    server = Server()
    server.meanwhile = lambda: time.sleep(0.05)
    sessions.put(URL, session(expires_in=10.0))
    together = threading.Barrier(8)

    def command(_number: int) -> int:
        with open_session(URL, Sessions(tmp_path / "config"), server.transport()) as http:
            together.wait()
            return http.get(ME).status_code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(command, range(8))) == [200] * 8
    assert server.shown == ["refresh-0"]


def test_a_refused_token_is_renewed_once(sessions: Sessions) -> None:
    server = Server()
    server.number = 3
    sessions.put(URL, session(3).model_copy(update={"access_token": "distrusted"}))
    with open_session(URL, sessions, server.transport()) as http:
        assert http.get(ME).json() == {"speaks": "Bearer access-4"}
        assert sessions.get(URL).refresh_token == "refresh-4"
        assert http.get(ME).status_code == 200
    assert server.shown == ["refresh-3"]


def test_a_new_token_is_stored_before_it_is_used(sessions: Sessions) -> None:
    server = Server()

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == ME:
            assert request.headers["Authorization"] == f"Bearer {sessions.get(URL).access_token}"
        return server(request)

    sessions.put(URL, session(expires_in=1.0))
    with open_session(URL, sessions, httpx.MockTransport(handle)) as http:
        assert http.get(ME).json() == {"speaks": "Bearer access-1"}


def test_ctrl_c_does_not_lose_the_new_token(sessions: Sessions) -> None:
    server = Server()
    server.meanwhile = lambda: signal.raise_signal(signal.SIGINT)
    sessions.put(URL, session(expires_in=1.0))
    with open_session(URL, sessions, server.transport()) as http, pytest.raises(KeyboardInterrupt):
        http.get(ME)
    assert sessions.get(URL).refresh_token == "refresh-1"


def test_an_answer_that_was_lost_is_asked_for_again(sessions: Sessions) -> None:
    server = Server()
    failures = iter([httpx.ReadTimeout("lost"), None])

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path != ME and (failure := next(failures)) is not None:
            raise failure
        return server(request)

    sessions.put(URL, session(expires_in=1.0))
    with open_session(URL, sessions, httpx.MockTransport(handle)) as http:
        assert http.get(ME).status_code == 200


def test_a_session_that_has_ended_says_so(sessions: Sessions) -> None:
    server = Server()
    server.ended = True
    sessions.put(URL, session())
    with (
        open_session(URL, sessions, server.transport()) as http,
        pytest.raises(NotLoggedIn, match="your session has ended"),
    ):
        http.get(ME)


def test_an_api_token_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.path == ME
        if request.headers["Authorization"] == "Bearer sbx_pat_good":
            return httpx.Response(200)
        return problem(401, "unauthenticated", "The API token is not one of ours.")

    server = httpx.MockTransport(handle)
    monkeypatch.setenv("SIGNALBOX_TOKEN", "sbx_pat_good")
    with open_client(URL, server) as http:
        assert http.get(ME).status_code == 200
    (tmp_path / "token").write_text("sbx_pat_bad\n")
    monkeypatch.setenv("SIGNALBOX_TOKEN_FILE", str(tmp_path / "token"))
    with open_client(URL, server) as http, pytest.raises(SignalboxError, match="not one of ours"):
        http.get(ME)
    assert not (tmp_path / "config").exists()
    (tmp_path / "token").write_text("two\nlines")
    with pytest.raises(SessionError, match="is no token"):
        open_client(URL)


def test_who_is_not_signalbox_is_told_apart() -> None:
    pages = {
        "/elsewhere": httpx.Response(308, headers={"Location": "https://signalbox.example/"}),
        "/page": httpx.Response(404, html="<h1>Not found</h1>"),
    }
    with Client(URL, transport=httpx.MockTransport(lambda request: pages[request.url.path])) as http:
        with pytest.raises(SignalboxError, match=r"go to https://signalbox\.example/: is this Signalbox"):
            http.get("/elsewhere")
        with pytest.raises(SignalboxError, match="404 Not Found: is this Signalbox") as caught:
            http.get("/page")
        assert caught.value.status == 404


def test_the_address_is_given_or_of_the_running_stack(tmp_path: Path) -> None:
    assert find_url("http://Signalbox.example:80/") == URL
    assert find_url("https://host/behind/a/path/") == "https://host/behind/a/path"
    for wrong in ("127.0.0.1:8000", "ftp://host", "http://", "http://me:secret@host", "http://host/?a=b"):
        with pytest.raises(SessionError, match="is no address like"):
            find_url(wrong)
    assert find_url() == client.DEFAULT_URL
    home = Home(tmp_path / "home")
    home.make()
    home.url_file.write_text("http://127.0.0.1:8123")
    assert find_url() == client.DEFAULT_URL, "what is stopped is nowhere"
    with home.lock():
        assert find_url() == "http://127.0.0.1:8123"
