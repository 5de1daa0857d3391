"""Which projects somebody may follow, and until when."""

import uuid
from collections.abc import Collection

from signalbox_common.contracts.auth import ListProjects
from signalbox_common.contracts.base import EVENTS_AREA
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.errors import Forbidden, SignalboxError
from signalbox_common.principal import in_scope
from signalbox_gateway.clients import Clients
from signalbox_gateway.identity import Asker

READ, WRITE = f"{EVENTS_AREA}:read", f"{EVENTS_AREA}:write"
MAX_PROJECTS = 1_000
"""Of one stream without a project."""


async def allowed(
    clients: Clients,
    asker: Asker,
    project: uuid.UUID,
    scope: str = READ,
    least_role: ProjectRole = ProjectRole.VIEWER,
) -> None:
    """Raises where the asker is no member of the project, or shows a token that does not cover this."""
    grant = await clients.identity.grant(asker, "auth", project)
    if grant.role is None or not grant.role.includes(least_role):
        raise Forbidden(f"This takes the role {least_role} or above.", code="role_too_low")
    if grant.scopes is not None and not in_scope(scope, frozenset(grant.scopes)):
        raise Forbidden(f"This token lacks the scope {scope}.", code="insufficient_scope")


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


async def still_allowed(clients: Clients, asker: Asker, projects: Collection[uuid.UUID]) -> bool:
    """Asked again with what auth knows now; what cannot be asked at the moment is not taken back."""
    for project in projects:
        try:
            await allowed(clients, asker, project)
        except SignalboxError as error:
            if error.status < 500:
                return False
    return True
