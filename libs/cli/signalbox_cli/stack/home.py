"""The folder that holds all state of one installation, and who works on it."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK_TRIES, LOCK_PAUSE = 20, 0.01

MARK = "SIGNALBOX_STACK"
"""Set in the environment of every process of a stack, so that none can hide."""


class AlreadyRunning(Exception):
    """Another supervisor works on this home."""


@dataclass(frozen=True)
class Home:
    path: Path

    @staticmethod
    def find(given: Path | None = None) -> "Home":
        return Home((given or Path(os.environ.get("SIGNALBOX_HOME") or ".signalbox")).resolve())

    def make(self) -> None:
        for folder in (self.path, self.run, self.logs, self.data):
            folder.mkdir(parents=True, exist_ok=True)
        self.run.chmod(0o700)
        self.logs.chmod(0o700)
        self.credentials.mkdir(mode=0o700, exist_ok=True)

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def credentials(self) -> Path:
        return self.path / "credentials"

    @property
    def secrets(self) -> Path:
        """The keys of the services' secret stores, which the services make themselves."""
        return self.path / "secrets"

    @property
    def url_file(self) -> Path:
        return self.path / "url"

    @property
    def admin_password_file(self) -> Path:
        return self.path / "admin-password"

    @property
    def state_file(self) -> Path:
        return self.run / "state.json"

    @property
    def mark(self) -> str:
        return str(self.path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Held while a supervisor works here; the kernel lets go of it with the process."""
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _exclusive(descriptor):
                raise AlreadyRunning
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
            yield
        finally:
            os.close(descriptor)

    def is_locked(self) -> bool:
        """Looks without being in anybody's way for longer than a moment."""
        try:
            descriptor = os.open(self._lock_file, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def supervisor(self) -> int | None:
        """The process that holds the lock."""
        if not self.is_locked():
            return None
        text = self._lock_file.read_text(encoding="utf-8")
        return int(text) if text.isdecimal() else None

    @property
    def _lock_file(self) -> Path:
        return self.run / "lock"

    def read_state(self) -> dict[str, Any] | None:
        try:
            state: dict[str, Any] = json.loads(self.state_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return state

    def write_state(self, state: dict[str, Any]) -> None:
        draft = self.state_file.with_suffix(".new")
        draft.write_text(json.dumps(state, indent=2), encoding="utf-8")
        draft.replace(self.state_file)


def _exclusive(descriptor: int) -> bool:
    """Takes the lock; somebody who only looks holds it for a moment."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE)
        else:
            return True
    return False
