"""Members: nobody gives or takes more than they have, and no project is left without an owner."""

import uuid

import pytest

from signalbox_auth import errors
from signalbox_auth.service.members import Members
from signalbox_auth.service.tokens import Tokens
from signalbox_auth.store import members as rows
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.principal import Principal
from tests.support.usecases import Scene, principal
from tests.usecases.people import NO_QUOTAS, account, join, person, project

OWNER, MAINTAINER, DEVELOPER = ProjectRole.OWNER, ProjectRole.MAINTAINER, ProjectRole.DEVELOPER


@pytest.fixture
def members(auth: Scene) -> Members:
    return Members(auth.database, NO_QUOTAS)


@pytest.fixture
async def ada(auth: Scene) -> Principal:
    """The only owner of a project."""
    return await project(auth, await person(auth, "ada"))


async def test_who_is_added_or_changed_is_answered_as_they_are_stored(
    auth: Scene, members: Members, ada: Principal
) -> None:
    bob = await person(auth, "bob")
    before = await auth.told()
    added = await auth.do(members.add, contract.AddMember(username="BOB", role=DEVELOPER), ada)
    listed = (await auth.do(members.page, contract.ListMembers(), ada)).items
    assert added in listed
    changed = await auth.do(members.change, contract.ChangeMember(user_id=bob.id, role=MAINTAINER), ada)
    assert changed == added.model_copy(update={"role": MAINTAINER})
    assert changed in (await auth.do(members.page, contract.ListMembers(), ada)).items

    told = (await auth.told())[len(before) :]
    assert [body.get("version", subject.rpartition(".")[2]) for subject, body in told] == [
        *(2, "added"),
        *(3, "changed"),
    ]


async def test_nobody_gives_or_takes_a_role_above_their_own(
    auth: Scene, members: Members, ada: Principal
) -> None:
    bob = await join(auth, ada, "bob", MAINTAINER)
    eve = await join(auth, ada, "eve", DEVELOPER)
    for change in (
        contract.ChangeMember(user_id=eve.user_id, role=OWNER),
        contract.ChangeMember(user_id=ada.user_id, role=DEVELOPER),
    ):
        with pytest.raises(errors.RoleTooLow):
            await auth.do(members.change, change, bob)
    with pytest.raises(errors.RoleTooLow):
        await auth.do(members.remove, contract.RemoveMember(user_id=ada.user_id), bob)
    with pytest.raises(errors.RoleTooLow):
        await auth.do(members.remove, contract.RemoveMember(user_id=bob.user_id), eve)
    await auth.do(members.remove, contract.RemoveMember(user_id=eve.user_id), eve)


async def test_the_role_of_the_moment_counts_and_not_that_of_the_grant(
    auth: Scene, members: Members, ada: Principal
) -> None:
    bob = await join(auth, ada, "bob", MAINTAINER)
    await person(auth, "eve")
    await rows.set_role(auth.transaction, ada.project(), bob.user_id, ProjectRole.VIEWER)
    with pytest.raises(errors.RoleTooLow):
        await auth.do(members.add, contract.AddMember(username="eve", role=DEVELOPER), bob)
    await rows.remove(auth.transaction, ada.project(), bob.user_id)
    with pytest.raises(errors.NoSuchProject):
        await auth.do(members.add, contract.AddMember(username="eve", role=DEVELOPER), bob)


async def test_the_last_owner_stays_one(auth: Scene, members: Members, ada: Principal) -> None:
    leave = contract.RemoveMember(user_id=ada.user_id)
    step_down = contract.ChangeMember(user_id=ada.user_id, role=DEVELOPER)
    with pytest.raises(errors.LastOwner):
        await auth.do(members.remove, leave, ada)
    with pytest.raises(errors.LastOwner):
        await auth.do(members.change, step_down, ada)
    await join(auth, ada, "bob", OWNER)
    await auth.do(members.remove, leave, ada)


async def test_only_people_who_are_not_members_are_added(
    auth: Scene, members: Members, ada: Principal
) -> None:
    robot = await account(auth, await project(auth, await person(auth, "bob")))
    for unknown in (contract.AddMember(username="nobody"), contract.AddMember(user_id=robot)):
        with pytest.raises(errors.UserNotFound):
            await auth.do(members.add, unknown, ada)
    with pytest.raises(errors.AlreadyMember):
        await auth.do(members.add, contract.AddMember(user_id=ada.user_id), ada)


async def test_a_service_account_owns_nothing_and_ends_with_its_tokens(
    auth: Scene, members: Members, ada: Principal
) -> None:
    with pytest.raises(errors.StaysAtHome):
        await account(auth, ada, OWNER)
    robot = await account(auth, ada)
    with pytest.raises(errors.StaysAtHome):
        await auth.do(members.change, contract.ChangeMember(user_id=robot, role=OWNER), ada)
    ask = contract.CreateServiceAccountToken(account_id=robot, name="ci")
    token = await auth.do(Tokens(auth.database, NO_QUOTAS).create_for_account, ask, ada)
    with pytest.raises(errors.AccountNotFound):
        await auth.do(
            members.delete_account, contract.DeleteServiceAccount(account_id=robot), await _elsewhere(auth)
        )
    before = await auth.told()
    await auth.do(members.delete_account, contract.DeleteServiceAccount(account_id=robot), ada)
    told = [body for _, body in (await auth.told())[len(before) :]]
    assert [body.get("tokenId") or body.get("version") or body for body in told] == [
        str(token.id),
        2,
        {"userId": str(robot)},
    ]


async def _elsewhere(auth: Scene) -> Principal:
    return await project(auth, await person(auth, f"user-{uuid.uuid4().hex[:8]}"))


async def test_who_is_no_member_is_not_changed(auth: Scene, members: Members, ada: Principal) -> None:
    stranger = principal().user_id
    with pytest.raises(errors.MemberNotFound):
        await auth.do(members.remove, contract.RemoveMember(user_id=stranger), ada)
    with pytest.raises(errors.MemberNotFound):
        await auth.do(members.change, contract.ChangeMember(user_id=stranger, role=DEVELOPER), ada)
