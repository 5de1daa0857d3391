"""Services outside that publish events: each with a user of its own on the bus, for one project."""

import asyncio
import os
import re
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nats
from nats.errors import Error as NatsError

from signalbox_cli.provision.credentials import Credentials, Publisher, nats_config, write_secret
from signalbox_cli.stack.home import Home
from signalbox_common.keys import is_canonical_uuid

PATIENCE = 5.0
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_WHERE = tuple(
    re.compile(rf'^\s*{name}: "([^"]+)"$', re.MULTILINE) for name in ("listen", "store_dir", "http")
)


class PublisherError(Exception):
    """Carries what the person is to be told."""


@dataclass(frozen=True)
class Installation:
    """The files of an installation that know who may publish."""

    secrets: Path
    config: Path
    mode: int
    reload: Callable[[], bool]
    """Has the server read its configuration again; False where nobody here can."""

    def credentials(self) -> Credentials:
        if not self.secrets.exists():
            raise PublisherError(f"{self.secrets} is missing: start the stack first")
        return Credentials.load_or_make(self.secrets, self.mode)

    def change(self, change: Callable[[dict[str, Publisher]], None]) -> Credentials:
        credentials = self.credentials()
        change(credentials.publishers)
        credentials.save(self.secrets, self.mode)
        if self.config.exists():
            text = self.config.read_text(encoding="utf-8")
            write_secret(self.config, _written_anew(text, credentials), self.mode)
        return credentials


def of_stack(home: Home) -> Installation:
    def reload() -> bool:
        state = home.read_state() if home.is_locked() else None
        pid = next((row["pid"] for row in (state or {}).get("servers", ()) if row["name"] == "nats"), None)
        if pid is None:
            return False
        os.kill(pid, signal.SIGHUP)
        return True

    return Installation(home.credentials / "secrets.json", home.data / "nats" / "nats.conf", 0o600, reload)


def of_containers(directory: Path) -> Installation:
    return Installation(
        directory / "provision" / "secrets.json", directory / "nats" / "nats.conf", 0o644, lambda: False
    )


def create(installation: Installation, name: str, project: str) -> Publisher:
    if _NAME.fullmatch(name) is None:
        raise PublisherError("a name is 1 to 40 of a-z, 0-9 and -, and begins and ends with no -")
    if not is_canonical_uuid(project):
        raise PublisherError("the project is given by its id, as `GET /api/v1/projects` shows it")
    made = Publisher(project, secrets.token_urlsafe(24))

    def add(publishers: dict[str, Publisher]) -> None:
        if name in publishers:
            raise PublisherError(f"there is a publisher {name}: delete it first to give it a new password")
        publishers[name] = made

    installation.change(add)
    return made


def delete(installation: Installation, name: str) -> None:
    def remove(publishers: dict[str, Publisher]) -> None:
        if publishers.pop(name, None) is None:
            raise PublisherError(f"there is no publisher {name}")

    installation.change(remove)


async def is_let_in(url: str, user: str) -> bool:
    """Waits until the server knows the user."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            client = await nats.connect(
                url, allow_reconnect=False, connect_timeout=1, inbox_prefix=f"_INBOX.{user}", error_cb=_silent
            )
        except (NatsError, OSError):
            await asyncio.sleep(0.1)
        else:
            await client.close()
            return True
    return False


async def _silent(_error: Exception) -> None:
    """What goes wrong shows in the answer."""


def _written_anew(config: str, credentials: Credentials) -> str:
    """With other users; where the server listens and keeps its data stays."""
    listen, store, monitor = (found[1] if found else None for found in (w.search(config) for w in _WHERE))
    if listen is None or store is None:
        raise PublisherError("the configuration of NATS is not one that Signalbox has written")
    return nats_config(credentials, listen=listen, store=store, monitor=monitor)
