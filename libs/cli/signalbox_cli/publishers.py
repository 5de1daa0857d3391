"""Services outside that publish events: each with a user of its own on the bus, for one project."""

import asyncio
import json
import os
import re
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NoStreamResponseError

from signalbox_cli.operator import ONCE
from signalbox_cli.provision.credentials import Credentials, Publisher, locked, nats_config
from signalbox_cli.secret_files import write_secret
from signalbox_cli.stack.home import Home
from signalbox_common.keys import is_canonical_uuid

PATIENCE = 5.0
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_WHERE = tuple(
    re.compile(rf'^\s*{name}: ("(?:[^"\\]|\\.)+")$', re.MULTILINE) for name in ("listen", "store_dir", "http")
)
_FOREIGN = "NATS is a server of somebody else here: make a user there"
READY, DOWN = "ready", "down"


class PublisherError(Exception):
    """Carries what the person is to be told."""


@dataclass(frozen=True)
class Installation:
    """The files of an installation that know who may publish."""

    secrets: Path
    config: Path
    check: Callable[[], None]
    """Raises where they are not to be changed at this moment."""
    reload: Callable[[], bool]
    """Has the server read its configuration again; False where nobody here can."""

    def publishers(self) -> dict[str, Publisher]:
        self._is_there()
        return Credentials.read(self.secrets).publishers

    def change(self, change: Callable[[dict[str, Publisher]], None]) -> bool:
        """One at a time; whether the server has been told."""
        self._is_there()
        with locked(self.secrets):
            self.check()
            if not self.config.exists():
                raise PublisherError(
                    "this installation uses a NATS server of somebody else: make a user there"
                )
            mode = self.secrets.stat().st_mode & 0o777
            credentials = Credentials.read(self.secrets)
            change(credentials.publishers)
            config = _written_anew(self.config.read_text(encoding="utf-8"), credentials)
            credentials.save(self.secrets, mode)
            write_secret(self.config, config, self.config.stat().st_mode & 0o777)
            return self.reload()

    def _is_there(self) -> None:
        if not self.secrets.exists():
            raise PublisherError(f"{self.secrets} is missing: start the stack first")


def of_stack(home: Home) -> Installation:
    def check() -> None:
        phase, pid = _running(home)
        if phase not in (READY, DOWN):
            raise PublisherError(f"the stack is {phase}: try again in a moment")
        if phase == READY and pid is None and not _has_nats(home):
            raise PublisherError(_FOREIGN)

    def reload() -> bool:
        phase, pid = _running(home)
        if pid is not None:
            with suppress(ProcessLookupError):  # it is just being started again, and reads it anyway
                os.kill(pid, signal.SIGHUP)
        return phase == READY

    return Installation(home.credentials / "secrets.json", home.data / "nats" / "nats.conf", check, reload)


def of_containers(directory: Path) -> Installation:
    return Installation(
        directory / "provision" / "secrets.json",
        directory / "nats" / "nats.conf",
        lambda: None,
        lambda: False,
    )


def _running(home: Home) -> tuple[str, int | None]:
    """What the stack is doing, as its supervisor says, and which process NATS is."""
    supervisor = home.supervisor()
    if supervisor is None:
        return ("starting" if home.is_locked() else DOWN), None
    state = home.read_state() or {}
    if state.get("pid") != supervisor:  # what another one has left
        return "starting", None
    return state["phase"], next((row["pid"] for row in state["servers"] if row["name"] == "nats"), None)


def _has_nats(home: Home) -> bool:
    return any(row["name"] == "nats" for row in (home.read_state() or {}).get("servers", ()))


def create(installation: Installation, name: str, project: str) -> tuple[Publisher, bool]:
    """And whether the server has been told."""
    if _NAME.fullmatch(name) is None:
        raise PublisherError("a name is 1 to 40 of a-z, 0-9 and -, and begins and ends with no -")
    if not is_canonical_uuid(project):
        raise PublisherError("the project is given by its id, as `GET /api/v1/projects` shows it")
    made = Publisher(project, secrets.token_urlsafe(24))

    def add(publishers: dict[str, Publisher]) -> None:
        if name in publishers:
            raise PublisherError(f"there is a publisher {name}: delete it first to give it a new password")
        publishers[name] = made

    return made, installation.change(add)


def delete(installation: Installation, name: str) -> tuple[Publisher, bool]:
    gone: list[Publisher] = []

    def remove(publishers: dict[str, Publisher]) -> None:
        if name not in publishers:
            raise PublisherError(f"there is no publisher {name}")
        gone.append(publishers.pop(name))

    told = installation.change(remove)
    return gone[0], told


async def is_let_in(url: str, user: str, *, wanted: bool = True) -> bool:
    """Waits until the server knows the user, or does so no more; False where that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            client = await nats.connect(url, inbox_prefix=f"_INBOX.{user}", error_cb=_silent, **ONCE)
        except (NatsError, OSError) as error:
            known = None if not _is_refusal(error) else False
        else:
            await client.close()
            known = True
        if known is wanted:
            return True
        await asyncio.sleep(0.1)
    return False


async def is_heard(installation: Installation, url: str, user: str, project: str) -> bool:
    """Has what it publishes reach the stream; False where that takes too long.

    An account that is new to a running server has no way to the others until the server reads its
    configuration once more. What is sent to try it names another stream: it is answered, and not kept.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        client = Client()
        try:
            await client.connect(url, inbox_prefix=f"_INBOX.{user}", error_cb=_silent, **ONCE)
            await client.jetstream().publish(f"ext.{project}.probe", stream="NONE", timeout=1)
        except NoStreamResponseError:
            installation.reload()
        except APIError:
            return True
        except (NatsError, OSError, TimeoutError):
            pass  # the server is busy with its configuration
        finally:
            await client.close()
        await asyncio.sleep(0.2)
    return False


def _is_refusal(error: Exception) -> bool:
    return "authorization violation" in str(error).lower()


async def _silent(_error: Exception) -> None:
    """What goes wrong shows in the answer."""


def _written_anew(config: str, credentials: Credentials) -> str:
    """With other users; where the server listens and keeps its data stays."""
    listen, store, monitor = (
        json.loads(found[1]) if found else None for found in (w.search(config) for w in _WHERE)
    )
    if listen is None or store is None:
        raise PublisherError("the configuration of NATS is not one that Signalbox has written")
    return nats_config(credentials, listen=listen, store=store, monitor=monitor)
