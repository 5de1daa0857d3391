"""Access: who may follow which project, and the end of what they follow when that is over."""

import asyncio
import uuid
from collections.abc import Collection
from typing import Protocol

from signalbox_common.contracts.auth import AccessRevoked, Grant, ListProjects
from signalbox_common.contracts.base import EVENTS_AREA
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.errors import InsufficientScope, RoleTooLow, SignalboxError, Unavailable
from signalbox_common.principal import in_scope
from signalbox_gateway.clients import Clients
from signalbox_gateway.identity import Asker
from signalbox_gateway.live.assurance import Assurance

READ, WRITE = f"{EVENTS_AREA}:read", f"{EVENTS_AREA}:write"
MAX_PROJECTS = 1_000
"""Of one stream without a project."""
_CHECK_EVERY = 0.5


async def require_access(
    clients: Clients,
    asker: Asker,
    project: uuid.UUID,
    scope: str = READ,
    least_role: ProjectRole = ProjectRole.VIEWER,
    *,
    fresh: bool = False,
) -> None:
    """Raises where the asker is no member of the project, or shows a token that does not cover this."""
    grant = await clients.identity.grant(asker, "auth", project, fresh=fresh)
    if grant.role is None or not grant.role.includes(least_role):
        raise RoleTooLow(least_role)
    _require_scope(grant, scope)


def _require_scope(grant: Grant, scope: str) -> None:
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


class Follower(Protocol):
    """Something open that somebody may see because of projects that they are members of."""

    @property
    def asker(self) -> Asker: ...

    @property
    def projects(self) -> Collection[uuid.UUID]: ...

    def forbid(self, why: SignalboxError) -> None: ...


class AccessMonitor:
    """Asks for new grants of whoever is said to have lost some, and ends what they may not read any more."""

    def __init__(self, clients: Clients, assurance: Assurance) -> None:
        self._clients = clients
        self._assurance = assurance
        self._followers: dict[uuid.UUID, set[Follower]] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self.revocations = 0
        """How many were heard of."""
        clients.bus.revoked.listeners.add(self._on_revoked)

    async def require(self, asker: Asker, projects: Collection[uuid.UUID]) -> None:
        """Raises where they may not follow all of these; of none, where their token covers no events."""
        fresh = self._assurance.is_lost
        for project in projects:
            await require_access(self._clients, asker, project, fresh=fresh)
        if not projects:
            _require_scope(await self._clients.identity.grant(asker, "auth", fresh=fresh), READ)

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
        task = asyncio.create_task(self.check(follower))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def check(self, follower: Follower) -> None:
        """Returns when it is known whether it may go on; where that stays unknown, it may not."""
        ends_at = asyncio.get_running_loop().time() + self._assurance.left
        while follower in self._followers.get(follower.asker.user_id, ()):
            try:
                async with asyncio.timeout_at(ends_at):
                    await self.require(follower.asker, follower.projects)
            except TimeoutError:
                follower.forbid(Unavailable())
            except SignalboxError as error:
                if not error.final:
                    await asyncio.sleep(_CHECK_EVERY)
                    continue
                follower.forbid(error)
            return
