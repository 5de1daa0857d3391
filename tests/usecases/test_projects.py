"""Personal projects, and who sees a project."""

import uuid

import pytest
from sqlalchemy.exc import DBAPIError

from signalbox_auth.domain.users import User, new_person
from signalbox_auth.service.projects import add_personal
from signalbox_auth.store import members, projects, users
from signalbox_common.contracts.auth import CreateProject
from signalbox_common.contracts.roles import PlatformRole, ProjectRole
from signalbox_common.errors import Unauthenticated
from tests.support.usecases import Scene, principal


async def somebody(auth: Scene, name: str) -> User:
    user = new_person(name, f"{name}@example.com", name.title(), PlatformRole.USER)
    assert await users.add(auth.transaction, user, None)
    await add_personal(auth.transaction, user)
    return user


async def projects_of(auth: Scene, user: User) -> list[str]:
    page = await projects.page(
        auth.transaction.connection, user.id, limit=10, before=None, search=None, deleted=False
    )
    return [project.slug for project in page]


async def test_a_personal_project_is_called_as_its_owner_is(auth: Scene) -> None:
    ada = await somebody(auth, "ada")
    assert await projects_of(auth, ada) == ["ada"]
    ((subject, body),) = await auth.told()
    project = body["id"]
    assert subject == f"evt.{project}.auth.project.created"
    assert body == {"id": project, "name": "Ada", "slug": "ada", "createdBy": str(ada.id)}
    assert await members.owners(auth.transaction.connection, uuid.UUID(project)) == [ada.id]


async def test_a_slug_that_is_taken_gets_a_suffix(auth: Scene) -> None:
    ada = await somebody(auth, "ada")
    other = await somebody(auth, "ada.")
    (slug,) = await projects_of(auth, other)
    assert slug.startswith("ada-")
    assert await projects_of(auth, ada) == ["ada"]
    assert [body["slug"] for _, body in await auth.told()] == ["ada", slug]


async def test_only_members_see_and_lock_a_project(auth: Scene) -> None:
    ada, bob = await somebody(auth, "ada"), await somebody(auth, "bob")
    project = uuid.UUID((await auth.told())[0][1]["id"])
    assert await projects.lock(auth.transaction, project, bob.id) is None
    assert await members.add(auth.transaction, project, bob.id, ProjectRole.VIEWER)
    locked = await projects.lock(auth.transaction, project, bob.id)
    assert locked is not None
    assert locked.role is ProjectRole.VIEWER
    assert await projects.lock(auth.transaction, project, ada.id, deleted=True) is None


async def test_nothing_of_other_tests_is_there(auth: Scene, catalog: Scene) -> None:
    assert not await users.username_exists(auth.transaction.connection, "ada")
    assert await auth.told() == await catalog.told() == []
    with pytest.raises(DBAPIError, match="permission denied"):
        await users.username_exists(catalog.transaction.connection, "ada")


def test_a_call_has_its_transaction_and_who_it_is_for(auth: Scene) -> None:
    ada = principal(project_id=uuid.uuid4())
    command = CreateProject(name="Ada's")
    assert auth.call(command, ada).transaction is auth.transaction
    assert auth.call(command, ada).principal.project_role is ProjectRole.OWNER
    with pytest.raises(Unauthenticated):
        _ = auth.call(command).principal
