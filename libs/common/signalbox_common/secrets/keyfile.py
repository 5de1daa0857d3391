"""The file that holds the key-encrypting keys of one service, wrapped under its `SECRET_KEY`.

Any number of processes of that service may use it. It is only ever replaced as a whole, and a change is
seen by the others before they wrap with a key again. Losing it is losing the secrets: it belongs into the
backup, apart from `SECRET_KEY` and from the database.
"""

import errno
import fcntl
import os
import shlex
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from signalbox_common.keys import Sealer, uuid7
from signalbox_common.secrets.base import SecretStoreUnavailable
from signalbox_common.secrets.envelope import Key, fresh_key

PURPOSE = "secrets/key-file"
VERSION: Literal[1] = 1

Keys = tuple[Key, ...]
"""Never empty; the newest is the last."""


class KeyFileUnusable(SecretStoreUnavailable):
    """Tells the operator what to do; whoever asks for a secret only hears that there are none now."""

    code = SecretStoreUnavailable.code

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.args = (reason,)


class KeyFileMissing(KeyFileUnusable):
    """There is no file; whether a new one will do depends on what the old one was needed for."""

    code = KeyFileUnusable.code


class _Model(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True, ser_json_bytes="base64", val_json_bytes="base64")


class _WrappedKey(_Model):
    id: str
    created_at: AwareDatetime
    wrapped: bytes


class _Document(_Model):
    version: Literal[1]
    keys: list[_WrappedKey] = Field(min_length=1)


@dataclass(frozen=True)
class _FileContent:
    """What the file held when it was last read."""

    raw: bytes | None = field(default=None, repr=False)
    keys: Keys = ()


class KeyFile:
    """To change `SECRET_KEY`, give the one before as `previous_secret_key` until every process has restarted.

    The file is wrapped anew with the first start that knows both; processes that still run with the old
    one go on reading with the keys that they know, and can store nothing until they restart.
    """

    def __init__(self, path: Path, secret_key: str, *, previous_secret_key: str | None = None) -> None:
        self.path = path
        self._sealer = Sealer(secret_key, PURPOSE)
        self._previous = Sealer(previous_secret_key, PURPOSE) if previous_secret_key else None
        self._content = _FileContent()

    def create(self) -> Key:
        """Makes the file, unless somebody else was faster; answers the newest key in it."""
        with self._explained():
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._draft((_next_key(()),)) as draft, suppress(FileExistsError):
                os.link(draft, self.path)  # unlike a rename, it replaces nothing
        return self.newest()

    def newest(self) -> Key:
        """The key to wrap with; looks at the file, because another process may have rotated."""
        return self._load()[-1]

    def find(self, key_id: str) -> Key | None:
        """Looks at the file only for a key that is not known yet."""
        return self.known(key_id) or _find(self._load(), key_id)

    def known(self, key_id: str) -> Key | None:
        """The key if it can be had without looking at the file."""
        return _find(self._content.keys, key_id)

    def add(self) -> Key:
        """A new key, with which everything is wrapped from now on."""
        return self._change(lambda keys: (*keys, _next_key(keys)))[-1]

    def retire(self, used: Collection[str], *, superseded_by: datetime) -> None:
        """Forgets the keys that nothing is wrapped with and that had a successor by then."""

        def is_kept(key: Key, successor: Key) -> bool:
            return key.id in used or successor.created_at > superseded_by

        def without_retired(keys: Keys) -> Keys:
            return (*(key for key, successor in pairwise(keys) if is_kept(key, successor)), keys[-1])

        if without_retired(keys := self._load()) != keys:
            self._change(without_retired)

    # -- reading -----------------------------------------------------------------------------------

    def _load(self) -> Keys:
        with self._explained():
            raw = self._read()
            seen = self._content
            if raw == seen.raw:
                return seen.keys
            # Whoever put these keys there may not have got so far, and we are about to rely on them.
            self._sync_folder()
        keys = self._unwrap(raw, self._sealer)
        if keys is None:
            return self._change(lambda keys: keys)
        self._content = _FileContent(raw, keys)
        return keys

    def _read(self) -> bytes:
        try:
            with open(self.path, "rb", opener=_open_no_link) as file:
                self._inspect(os.fstat(file.fileno()))
                return file.read()
        except FileNotFoundError as error:
            raise KeyFileMissing(f"the key file {self.path} is missing: restore it from a backup") from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise KeyFileUnusable(f"the key file {self.path} must not be a symbolic link") from error
            raise

    def _inspect(self, status: os.stat_result) -> None:
        quoted = shlex.quote(str(self.path))
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileUnusable(f"the key file {self.path} is not a regular file")
        if os.geteuid() not in (0, status.st_uid):
            raise KeyFileUnusable(
                f"the key file {self.path} belongs to another user: chown {os.geteuid()} {quoted}"
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise KeyFileUnusable(f"the key file {self.path} is open to other users: chmod 600 {quoted}")

    def _unwrap(self, raw: bytes, sealer: Sealer) -> Keys | None:
        """The keys, where this is what they were wrapped with."""
        try:
            found = _Document.model_validate_json(raw).keys
        except ValidationError as error:
            raise KeyFileUnusable(
                f"the key file {self.path} is damaged, or of a later version: restore it from a backup"
            ) from error
        try:
            keys = [
                Key(key.id, key.created_at, sealer.open(key.wrapped, _context(key.id, key.created_at)))
                for key in found
            ]
        except ValueError:
            return None
        return tuple(sorted(keys, key=lambda key: key.created_at))

    # -- writing -----------------------------------------------------------------------------------

    def _change(self, edit: Callable[[Keys], Keys]) -> Keys:
        """Replaces the file; what has been written is wrapped under the current `SECRET_KEY`."""
        with self._explained(), self._lock():
            raw = self._read()
            keys = self._unwrap(raw, self._sealer)
            if keys is None and self._previous is not None:
                keys = self._unwrap(raw, self._previous)
            if keys is None:
                raise KeyFileUnusable(
                    f"the key file {self.path} was altered, or does not belong to this SECRET_KEY: "
                    "give the SECRET_KEY that it was made with, as the previous one if it was changed"
                )
            edited = edit(keys)
            with self._draft(edited) as draft:
                draft.replace(self.path)
            self._sync_folder()
        return edited

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One process at a time changes the file; the kernel lets go of the lock with the process."""
        lock = self.path.with_name(f"{self.path.name}.lock")
        with suppress(FileExistsError), open(lock, "xb", opener=_open_no_link) as made:
            self._give_to_owner(made.fileno())  # but nothing that was there: it may be a link
        with open(lock, "r+b", opener=_open_no_link) as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _draft(self, keys: Keys) -> Iterator[Path]:
        """The file to be, whole and on the disk."""
        document = _Document(
            version=VERSION,
            keys=[
                _WrappedKey(
                    id=key.id,
                    created_at=key.created_at,
                    wrapped=self._sealer.seal(key.material, _context(key.id, key.created_at)),
                )
                for key in keys
            ],
        )
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                self._give_to_owner(descriptor)
                file.write(document.model_dump_json(indent=2).encode())
                file.flush()
                os.fsync(descriptor)
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def _give_to_owner(self, descriptor: int) -> None:
        """What an operator makes as root must stay readable for the service."""
        if os.geteuid() == 0:
            there = (self.path if self.path.exists() else self.path.parent).stat()
            os.fchown(descriptor, there.st_uid, there.st_gid)

    def _sync_folder(self) -> None:
        descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise KeyFileUnusable(f"the key file {self.path} cannot be used: {error}") from error


def _open_no_link(path: str, flags: int) -> int:
    """Never waits, either: something else than a file may stand there."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)


def _next_key(keys: Keys) -> Key:
    """Newer than those before, whatever the clock says."""
    now = datetime.now(UTC)
    newest = [key.created_at + timedelta(microseconds=1) for key in keys[-1:]]
    return Key(str(uuid7()), max([now, *newest]), fresh_key())


def _context(key_id: str, created_at: datetime) -> str:
    return f"key file v{VERSION} {key_id} {created_at.astimezone(UTC).isoformat()}"


def _find(keys: Keys, key_id: str) -> Key | None:
    return next((key for key in keys if key.id == key_id), None)
