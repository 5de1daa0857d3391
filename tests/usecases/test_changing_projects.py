"""Projects: made under a free slug, changed by who saw their last version, deleted by their owners."""

import uuid

import pytest

from signalbox_auth import errors
from signalbox_auth.service.projects import Projects, add_personal
from signalbox_auth.store import members
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.roles import ProjectRole
from tests.support.usecases import Scene, principal
from tests.usecases.people import account, join, person, project


@pytest.fixture
def projects(auth: Scene) -> Projects:
    return Projects(auth.database)


async def test_who_makes_a_project_owns_it(auth: Scene, projects: Projects) -> None:
    ada = await person(auth, "ada")
    made = await auth.do(projects.create, contract.CreateProject(name="Öl & Gas"), principal(ada.id))
    assert (made.slug, made.role, made.personal) == ("ol-gas", ProjectRole.OWNER, False)
    assert await members.owners(auth.transaction.connection, made.id) == [ada.id]
    assert await auth.told() == [
        (
            f"evt.{made.id}.auth.project.created",
            {"id": str(made.id), "name": "Öl & Gas", "slug": "ol-gas", "createdBy": str(ada.id)},
        )
    ]


async def test_a_slug_that_was_asked_for_is_had_or_refused(auth: Scene, projects: Projects) -> None:
    ada = principal((await person(auth, "ada")).id)
    await auth.do(projects.create, contract.CreateProject(name="One", slug="mine"), ada)
    told = await auth.told()
    with pytest.raises(errors.SlugTaken):
        await auth.do(projects.create, contract.CreateProject(name="Two", slug="mine"), ada)
    with pytest.raises(errors.SlugReserved):
        await auth.do(projects.create, contract.CreateProject(name="Two", slug="default"), ada)
    assert await auth.told() == told, "nothing is said of what was not made"
    derived = await auth.do(projects.create, contract.CreateProject(name="Mine"), ada)
    assert derived.slug.startswith("mine-"), "nobody has asked for that one"


async def test_a_service_account_makes_no_project(auth: Scene, projects: Projects) -> None:
    robot = await account(auth, await project(auth, await person(auth, "ada")))
    with pytest.raises(errors.StaysAtHome):
        await auth.do(
            projects.create, contract.CreateProject(name="Its own"), principal(robot, token_id=uuid.uuid4())
        )


async def test_a_project_is_changed_by_who_saw_its_last_version(auth: Scene, projects: Projects) -> None:
    ada = await project(auth, await person(auth, "ada"))
    seen = (await auth.do(projects.get, contract.GetProject(), ada)).version
    changed = await auth.do(projects.update, contract.UpdateProject(name="New", expected_version=seen), ada)
    assert changed.name == "New"
    with pytest.raises(errors.VersionMoved):
        await auth.do(projects.update, contract.UpdateProject(name="Newer", expected_version=seen), ada)
    with pytest.raises(errors.VersionMoved):
        await auth.do(projects.delete, contract.DeleteProject(expected_version=seen), ada)
    with pytest.raises(errors.NothingToChange):
        await auth.do(projects.update, contract.UpdateProject(expected_version=changed.version), ada)
    assert await auth.do(projects.get, contract.GetProject(), ada) == changed


async def test_a_deleted_project_outdates_the_grants_of_all_members(auth: Scene, projects: Projects) -> None:
    ada = await project(auth, await person(auth, "ada"))
    bob = await join(auth, ada, "bob", ProjectRole.DEVELOPER)
    await auth.do(projects.delete, contract.DeleteProject(), ada)
    with pytest.raises(errors.NoSuchProject):
        await auth.do(projects.get, contract.GetProject(), ada)
    outdated = [body["userId"] for subject, body in await auth.told() if subject.startswith("rvk.")]
    assert sorted(outdated) == sorted([str(ada.user_id), str(bob.user_id)])


async def test_only_an_owner_restores_what_is_deleted(auth: Scene, projects: Projects) -> None:
    ada = await project(auth, await person(auth, "ada"))
    bob = await join(auth, ada, "bob", ProjectRole.MAINTAINER)
    restore = contract.RestoreProject(project_id=ada.project())
    with pytest.raises(errors.NoSuchProject):
        await auth.do(projects.restore, restore, principal(ada.user_id))
    await auth.do(projects.delete, contract.DeleteProject(), ada)
    with pytest.raises(errors.NoSuchProject):
        await auth.do(projects.restore, restore, principal(bob.user_id))
    await auth.do(projects.restore, restore, principal(ada.user_id))
    assert (await auth.do(projects.get, contract.GetProject(), bob)).role is ProjectRole.MAINTAINER


async def test_a_personal_project_is_not_deleted(auth: Scene, projects: Projects) -> None:
    ada = await person(auth, "ada")
    await add_personal(auth.transaction, ada)
    (own,) = (await auth.do(projects.page, contract.ListProjects(), principal(ada.id))).items
    with pytest.raises(errors.PersonalProject):
        await auth.do(projects.delete, contract.DeleteProject(), principal(ada.id, project_id=own.id))
