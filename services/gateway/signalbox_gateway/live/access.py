"""Access: who may follow which project, and the end of what is open when that is over."""

import asyncio
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol

from signalbox_common import background
from signalbox_common.contracts.auth import AccessRevoked, ListProjects
from signalbox_common.contracts.base import EVENTS_AREA
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.errors import InsufficientScope, RoleTooLow, SignalboxError
from signalbox_common.principal import in_scope
from signalbox_common.revoked import Revocations
from signalbox_gateway.clients import Clients
from signalbox_gateway.identity import Asker

READ, WRITE = f"{EVENTS_AREA}:read", f"{EVENTS_AREA}:write"
MAX_PROJECTS = 1_000
"""Of one stream without a project."""
UNCHECKED_FOR = 10.0
"""Seconds without word of revocations after which open connections are ended."""
_CHECK_EVERY = 0.5


async def require_access(
    clients: Clients,
    asker: Asker,
    project: uuid.UUID,
    scope: str = READ,
    least_role: ProjectRole = ProjectRole.VIEWER,
) -> None:
    """Raises where the asker is no member of the project, or shows a token that does not cover this."""
    grant = await clients.identity.grant(asker, "auth", project)
    if grant.role is None or not grant.role.includes(least_role):
        raise RoleTooLow(least_role)
    if grant.scopes is not None and not in_scope(scope, frozenset(grant.scopes)):
        raise InsufficientScope(scope)


async def own_projects(clients: Clients, asker: Asker) -> set[uuid.UUID]:
    """All that the asker is a member of."""
    found: set[uuid.UUID] = set()
    cursor: str | None = None
    while len(found) < MAX_PROJECTS:
        page = (await clients.query(asker, ListProjects(limit=200, cursor=cursor))).value()
        found |= {project.id for project in page.items}
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


async def has_access(clients: Clients, asker: Asker, projects: Collection[uuid.UUID]) -> bool:
    """Asked again with what auth knows now; what cannot be asked at the moment is not taken back."""
    for project in projects:
        try:
            await require_access(clients, asker, project)
        except SignalboxError as error:
            if error.status < 500:
                return False
    return True


class Follower(Protocol):
    """Something open that somebody may see because of projects that they are members of."""

    @property
    def asker(self) -> Asker: ...

    @property
    def projects(self) -> Collection[uuid.UUID]: ...

    def forbid(self) -> None: ...


class AccessMonitor:
    """Asks for new grants of whoever is said to have lost some, and ends what they may not read any more."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._followers: dict[uuid.UUID, set[Follower]] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self.revocations = 0
        """How many were heard of."""
        clients.bus.revoked.listeners.add(self._on_revoked)

    def add(self, follower: Follower, revocations: int) -> None:
        """Checked again at once where more were heard of since its access was checked."""
        self._followers.setdefault(follower.asker.user_id, set()).add(follower)
        if revocations != self.revocations:
            self._check(follower)

    def remove(self, follower: Follower) -> None:
        mine = self._followers.get(follower.asker.user_id, set())
        mine.discard(follower)
        if not mine:
            self._followers.pop(follower.asker.user_id, None)

    def _on_revoked(self, what: AccessRevoked) -> None:
        self.revocations += 1
        if what.user_id is None:
            return
        for follower in self._followers.get(what.user_id, ()):
            self._check(follower)

    def _check(self, follower: Follower) -> None:
        task = asyncio.create_task(self._ask(follower))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _ask(self, follower: Follower) -> None:
        if not await has_access(self._clients, follower.asker, follower.projects):
            follower.forbid()


class EndReason(StrEnum):
    REVOKED = "revoked"
    UNCHECKED = "unchecked"


class OpenConnection:
    """One open connection and the person that it was opened for."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.ended: asyncio.Future[EndReason] = asyncio.get_running_loop().create_future()

    def end(self, reason: EndReason) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)


class OpenConnections:
    """All of this process; ended when the token behind one is revoked, or cannot be checked any more."""

    def __init__(self, revoked: Revocations) -> None:
        self._revoked = revoked
        self._open: set[OpenConnection] = set()
        self._task: asyncio.Task[None] | None = None
        revoked.listeners.add(self._on_revoked)

    @contextmanager
    def track(self, asker: Asker) -> Iterator[OpenConnection]:
        connection = OpenConnection(asker)
        self._open.add(connection)
        # It may have been revoked since it was checked: from now on nothing is missed.
        if asker.revoked(self._revoked):
            connection.end(EndReason.REVOKED)
        try:
            yield connection
        finally:
            self._open.discard(connection)

    def start(self) -> None:
        self._task = asyncio.create_task(self._check(), name="open connections")

    async def stop(self) -> None:
        await background.end(self._task)

    def _on_revoked(self, what: AccessRevoked) -> None:
        for connection in list(self._open):
            if connection.asker.stands_on(what):
                connection.end(EndReason.REVOKED)

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_EVERY)
            if self._revoked.silence > UNCHECKED_FOR:
                self._end_all()

    def _end_all(self) -> None:
        for connection in list(self._open):
            connection.end(EndReason.UNCHECKED)
