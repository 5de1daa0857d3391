"""Who is logged in where: a file of this person's sessions, one for each address."""

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from signalbox_cli.secret_files import write_secret

CONFIG_DIR = "SIGNALBOX_CONFIG_DIR"
LOCK_PATIENCE, LOCK_PAUSE = 30.0, 0.02


class SessionError(Exception):
    """Carries what the person is to be told."""


class NotLoggedIn(SessionError):
    def __init__(self, url: str, why: str = "you are not logged in") -> None:
        super().__init__(f"{why} at {url}: `signalbox login --url {url}` begins a session")


class Session(BaseModel):
    model_config = ConfigDict(frozen=True)

    access_token: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    expires_at: float
    """When the access token does, in seconds since 1970."""


_FILE = TypeAdapter(dict[str, Session])


def config_folder() -> Path:
    if own := os.environ.get(CONFIG_DIR):
        return Path(own)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        # Its specification wants relative paths ignored.
        return (Path(base) if base.startswith("/") else Path.home() / ".config") / "signalbox"
    except RuntimeError as error:
        raise SessionError(f"there is no home folder to keep sessions in: set {CONFIG_DIR}") from error


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """A new refresh token that is not stored would cost the session."""
    if threading.current_thread() is not threading.main_thread():
        yield  # nothing is interrupted there
        return
    came = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


class Sessions:
    """Readable by their owner only, and replaced as a whole."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or config_folder()
        self._file = self._folder / "sessions.json"

    def find(self, url: str) -> Session | None:
        return self._read().get(url)

    def get(self, url: str) -> Session:
        session = self.find(url)
        if session is None:
            raise NotLoggedIn(url)
        return session

    def put(self, url: str, session: Session) -> None:
        with self._locked():
            self._write(self._read() | {url: session})

    def forget(self, url: str) -> None:
        with self._locked():
            self._write({kept: session for kept, session in self._read().items() if kept != url})

    def renewed(self, url: str, stale: Session, exchange: Callable[[str], Session]) -> Session:
        """The session with new tokens, which are stored before anybody uses them.

        One command at a time: a refresh token that is shown twice looks stolen, and ends its session.
        """
        with self._locked():
            current = self.get(url)
            if current.access_token != stale.access_token:
                return current  # another command was faster
            with _ctrl_c_waits():
                renewed = exchange(current.refresh_token)
                self._write(self._read() | {url: renewed})
            return renewed

    def check(self) -> None:
        """Raises what would keep a session from being stored."""
        with self._locked():
            self._read()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The kernel lets go of the lock with the process."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._folder.stat().st_mode & 0o022:
                raise SessionError(f"others can write to {self._folder}: sessions are not kept there")
            descriptor = os.open(self._folder / "sessions.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                self._take(descriptor)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SessionError(f"sessions cannot be kept in {self._folder}: {error.strerror}") from error

    def _take(self, descriptor: int) -> None:
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise SessionError(f"another command does not let go of {self._folder}") from error
                time.sleep(LOCK_PAUSE)
            else:
                return

    def _read(self) -> dict[str, Session]:
        try:
            return _FILE.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SessionError(f"{self._file} cannot be read: {error.strerror}") from error
        except ValidationError:
            # What pydantic says about it quotes tokens.
            raise SessionError(f"{self._file} is broken: remove it, and log in again") from None

    def _write(self, sessions: dict[str, Session]) -> None:
        write_secret(self._file, _FILE.dump_json(sessions, indent=2).decode())
