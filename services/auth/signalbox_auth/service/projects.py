"""Projects: what owns everything else, and who owns it."""

import secrets
import uuid
from datetime import UTC, datetime

from signalbox_auth import errors
from signalbox_auth.domain.names import checked_slug, slug_of, suffixed
from signalbox_auth.domain.projects import Project
from signalbox_auth.domain.users import User
from signalbox_auth.store import facts
from signalbox_auth.store import members as member_rows
from signalbox_auth.store import projects as rows
from signalbox_auth.store import users as user_rows
from signalbox_common.bus import Call
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import QuotaExceeded
from signalbox_common.keys import uuid7
from signalbox_common.paging import cut, id_cursor, read_id_cursor

_SLUG_TRIES = 5
_PROJECTS = "projects"
"""What the quota is called that each person has."""


class Projects:
    def __init__(self, database: Database, per_person: int | None = None) -> None:
        self._database = database
        self._per_person = per_person

    async def create(self, call: Call, command: contract.CreateProject) -> contract.Project:
        transaction, creator = call.transaction, call.principal.user_id
        if call.principal.token_id is not None:
            user = await user_rows.get(transaction.connection, creator)
            if user is None or user.kind == "service":
                raise errors.StaysAtHome
        await user_rows.hold(transaction, creator)
        used = await rows.count_created(transaction.connection, creator)
        if self._per_person is not None and used >= self._per_person:
            raise QuotaExceeded(_PROJECTS, limit=self._per_person, used=used, whose="You have")
        project = await _add(
            transaction,
            name=command.name,
            slug=command.slug,
            description=command.description,
            owner=creator,
        )
        return reply_of(project)

    async def page(self, call: Call, query: contract.ListProjects) -> contract.ProjectPage:
        async with self._database.reading() as connection:
            found = await rows.page(
                connection,
                call.principal.user_id,
                limit=query.limit + 1,
                before=read_id_cursor(query.cursor),
                search=query.q,
                deleted=query.deleted,
            )
        items, cursor = cut([reply_of(p) for p in found], query.limit, lambda p: id_cursor(p.id))
        return contract.ProjectPage(items=items, next_cursor=cursor)

    async def get(self, call: Call, _query: contract.GetProject) -> contract.Project:
        async with self._database.reading() as connection:
            project = await rows.get(connection, call.principal.project(), call.principal.user_id)
        if project is None:
            raise errors.NoSuchProject
        return reply_of(project)

    async def of_first_administrator(
        self, _call: Call, _query: contract.GetFirstAdministrator
    ) -> contract.FirstAdministrator:
        async with self._database.reading() as connection:
            return contract.FirstAdministrator(project=await rows.of_first_administrator(connection))

    async def update(self, call: Call, command: contract.UpdateProject) -> contract.Project:
        values = {
            name: value
            for name, value in (("name", command.name), ("description", command.description))
            if value is not None
        }
        transaction = call.transaction
        project = await self._locked(call, command.expected_version)
        if not values:
            raise errors.NothingToChange
        changed = await rows.change(transaction, project, **values)
        event = contract.ProjectUpdated(id=changed.id, name=changed.name, slug=changed.slug)
        facts.record(transaction, event, project=changed.id)
        return reply_of(changed)

    async def delete(self, call: Call, command: contract.DeleteProject) -> Empty:
        transaction = call.transaction
        project = await self._locked(call, command.expected_version)
        if project.personal:
            raise errors.PersonalProject
        await rows.change(transaction, project, deleted_at=datetime.now(UTC))
        await user_rows.outdate_grants(
            transaction, *await member_rows.user_ids(transaction.connection, project.id)
        )
        event = contract.ProjectDeleted(id=project.id, slug=project.slug)
        facts.record(transaction, event, project=project.id)
        return Empty()

    async def restore(self, call: Call, command: contract.RestoreProject) -> contract.Project:
        """Asked for without a grant for the project: there is none to be had for a deleted one."""
        transaction = call.transaction
        project = await rows.lock(transaction, command.project_id, call.principal.user_id, deleted=True)
        if project is None or project.role is not ProjectRole.OWNER:
            raise errors.NoSuchProject
        restored = await rows.change(transaction, project, deleted_at=None)
        event = contract.ProjectRestored(id=restored.id, slug=restored.slug)
        facts.record(transaction, event, project=restored.id)
        return reply_of(restored)

    @staticmethod
    async def _locked(call: Call, expected_version: int | None) -> Project:
        project = await rows.lock(call.transaction, call.principal.project(), call.principal.user_id)
        if project is None:
            raise errors.NoSuchProject
        if expected_version is not None and expected_version != contract.version_of(project.updated_at):
            raise errors.VersionMoved
        return project


async def add_personal(transaction: Transaction, user: User) -> None:
    """The project that is somebody's own: the namespace `default` of what they do alone."""
    await _add(
        transaction,
        name=user.display_name,
        slug=None,
        derive_from=user.username,
        description="",
        owner=user.id,
        personal=True,
    )


async def _add(
    transaction: Transaction,
    *,
    name: str,
    slug: str | None,
    description: str,
    owner: uuid.UUID,
    derive_from: str | None = None,
    personal: bool = False,
) -> Project:
    """Under the slug that was asked for, or one that is derived and suffixed until it is free."""
    derived = slug_of(derive_from or name)
    wanted = checked_slug(slug) if slug else derived
    for _ in range(_SLUG_TRIES):
        now = datetime.now(UTC)
        project = Project(
            id=uuid7(),
            name=name,
            slug=wanted,
            description=description,
            role=ProjectRole.OWNER,
            created_at=now,
            updated_at=now,
            personal_of=owner if personal else None,
        )
        if await rows.add(transaction, project, owner):
            created = contract.ProjectCreated(
                id=project.id, name=project.name, slug=project.slug, created_by=owner
            )
            facts.record(transaction, created, project=project.id)
            return project
        if slug:
            break
        wanted = suffixed(derived, secrets.token_hex(4))
    raise errors.SlugTaken


def reply_of(project: Project) -> contract.Project:
    return contract.Project(
        id=project.id,
        name=project.name,
        slug=project.slug,
        description=project.description,
        role=project.role,
        created_at=project.created_at,
        updated_at=project.updated_at,
        personal=project.personal,
    )
