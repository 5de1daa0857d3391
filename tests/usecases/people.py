"""Who is there when a use case begins."""

import uuid

from signalbox_auth.domain.users import User, new_person
from signalbox_auth.service.members import Members
from signalbox_auth.service.projects import Projects
from signalbox_auth.store import members, users
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.auth import QuotaLimits
from signalbox_common.contracts.roles import PlatformRole, ProjectRole
from signalbox_common.principal import Principal
from signalbox_common.quotas import ProjectQuotas
from tests.support.usecases import Scene, principal

NO_QUOTAS = ProjectQuotas("auth", QuotaLimits())


async def person(auth: Scene, name: str, role: PlatformRole = PlatformRole.USER) -> User:
    user = new_person(name, f"{name}@example.com", name.title(), role)
    assert await users.add(auth.transaction, user, None)
    return user


async def project(auth: Scene, owner: User, name: str = "Project") -> Principal:
    """A new project, as its owner is granted it."""
    create = Projects(auth.database).create
    made = await auth.do(create, contract.CreateProject(name=name), principal(owner.id))
    return principal(owner.id, username=owner.username, project_id=made.id)


async def join(auth: Scene, owner: Principal, name: str, role: ProjectRole) -> Principal:
    """Somebody new in the owner's project."""
    user = await person(auth, name)
    assert await members.add(auth.transaction, owner.project(), user.id, role)
    return principal(user.id, username=name, project_id=owner.project(), project_role=role)


async def account(auth: Scene, owner: Principal, role: ProjectRole = ProjectRole.DEVELOPER) -> uuid.UUID:
    """A service account of the owner's project."""
    create = Members(auth.database, NO_QUOTAS).create_account
    return (await auth.do(create, contract.CreateServiceAccount(name="robot", role=role), owner)).id
