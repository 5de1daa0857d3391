"""Users, their sessions, tokens and devices: what is ended is ended, and nobody ends another's."""

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from signalbox_auth import errors
from signalbox_auth.domain.sessions import RefreshTokens, Session
from signalbox_auth.domain.users import User
from signalbox_auth.passwords import Passwords
from signalbox_auth.service.devices import Devices
from signalbox_auth.service.invitations import Invitations
from signalbox_auth.service.keys import Keys
from signalbox_auth.service.letters import Letters
from signalbox_auth.service.sessions import Lives, Sessions
from signalbox_auth.service.tokens import Tokens
from signalbox_auth.service.users import Users
from signalbox_auth.settings import AuthSettings
from signalbox_auth.store import sessions as session_rows
from signalbox_common.bus.buckets import SignedBuckets
from signalbox_common.bus.connection import Connection
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.roles import PlatformRole
from signalbox_common.entries import RootKey, TrustAnchor
from signalbox_common.errors import SignalboxError
from signalbox_common.inbox import Inbox
from signalbox_common.keys import Sealer, uuid7
from signalbox_common.secrets import KeyFile, LocalSecrets
from signalbox_common.work import Worker
from tests.support.usecases import Scene, principal
from tests.usecases.people import NO_QUOTAS, account, person, project

ADMIN = PlatformRole.ADMIN
KEY = "a key of these tests, long enough for all"


@pytest.fixture
def users(auth: Scene) -> Users:
    letters = Letters(Worker(auth.database, Inbox(auth.database).pending, "nobody"), sends=False)
    invitations = Invitations(auth.database, letters, "open")
    return Users(auth.database, Passwords(AuthSettings()), invitations, letters)


@pytest.fixture
def sessions(auth: Scene, tmp_path: Path) -> Sessions:
    """Nobody signs in with these: there is no key to sign with."""
    store = LocalSecrets(auth.database, KeyFile(tmp_path / "auth.keys", KEY))
    root = RootKey.derived(KEY)
    buckets = SignedBuckets(Connection(AuthSettings()), TrustAnchor(root.anchor))  # never connected
    keys = Keys(auth.database, store, buckets.keys, root, Sealer(KEY, "auth/signing-keys"))
    lives = Lives(access=timedelta(minutes=5), idle=timedelta(days=1), longest=timedelta(days=2))
    return Sessions(auth.database, Passwords(AuthSettings()), keys, RefreshTokens(KEY), lives)


@pytest.fixture
def tokens(auth: Scene) -> Tokens:
    return Tokens(auth.database, NO_QUOTAS)


async def session(auth: Scene, user: User) -> uuid.UUID:
    now = datetime.now(UTC)
    begun = Session(
        id=uuid7(),
        user_id=user.id,
        client=None,
        address=None,
        created_at=now,
        last_used_at=now,
        expires_at=now + timedelta(days=1),
        generation=0,
        refresh_hash=b"",
        rotated_at=None,
    )
    await session_rows.add(auth.transaction, begun)
    return begun.id


def _said(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


async def test_an_address_belongs_to_one_user(auth: Scene, users: Users) -> None:
    """As administrators know; for oneself, another one takes the password, which no command carries."""
    ada, bob = await person(auth, "ada"), await person(auth, "bob")
    admin = principal((await person(auth, "root", ADMIN)).id, role=ADMIN)
    with pytest.raises(errors.EmailTaken):
        await auth.do(users.update, contract.UpdateUser(user_id=bob.id, email="ADA@example.com"), admin)
    changed = await auth.do(users.update, contract.UpdateUser(user_id=ada.id, email="Ada@example.com"), admin)
    assert (changed.email, changed.email_confirmed) == ("Ada@example.com", True)
    with pytest.raises(errors.PasswordNeeded):
        await auth.do(users.update_me, contract.UpdateMe(email="ada@example.com"), principal(ada.id))
    with pytest.raises(errors.NothingToChange):
        await auth.do(users.update_me, contract.UpdateMe(), principal(ada.id))


async def test_the_last_admin_stays_one(auth: Scene, users: Users) -> None:
    ada, bob = await person(auth, "ada", ADMIN), await person(auth, "bob")
    who = principal(ada.id, role=ADMIN)
    for command in (
        contract.UpdateUser(user_id=ada.id, role=PlatformRole.USER),
        contract.UpdateUser(user_id=ada.id, active=False),
    ):
        with pytest.raises(errors.LastAdmin):
            await auth.do(users.update, command, who)
    await auth.do(users.update, contract.UpdateUser(user_id=bob.id, role=ADMIN), who)
    demoted = await auth.do(users.update, contract.UpdateUser(user_id=ada.id, role=PlatformRole.USER), who)
    assert demoted.role is PlatformRole.USER
    with pytest.raises(errors.UserNotFound):
        await auth.do(users.update, contract.UpdateUser(user_id=uuid.uuid4(), active=False), who)


async def test_who_is_deactivated_loses_all_that_speaks_for_them(
    auth: Scene, users: Users, tokens: Tokens
) -> None:
    admin, ada = await person(auth, "root", ADMIN), await person(auth, "ada")
    begun = await session(auth, ada)
    token = await auth.do(tokens.create, contract.CreateToken(name="ci"), principal(ada.id))
    off = contract.UpdateUser(user_id=ada.id, active=False)
    gone = await auth.do(users.update, off, principal(admin.id, role=ADMIN))
    assert not gone.active
    told = [(subject.partition(".auth.")[2], _said(body)) for subject, body in await auth.told()]
    assert told == [
        ("session.revoked", {"id": str(begun), "userId": str(ada.id), "reason": "deactivated"}),
        ("access.revoked", {"sessionId": str(begun)}),
        ("access.revoked", {"tokenId": str(token.id)}),
        ("user.deactivated", {"id": str(ada.id), "username": "ada"}),
        ("access.revoked", {"userId": str(ada.id), "version": 2}),
    ]


async def test_all_other_sessions_are_ended_and_nobody_elses(auth: Scene, sessions: Sessions) -> None:
    ada, bob = await person(auth, "ada"), await person(auth, "bob")
    mine, other, bobs = await session(auth, ada), await session(auth, ada), await session(auth, bob)
    who = principal(ada.id, session_id=mine)
    with pytest.raises(errors.SessionNotFound):
        await auth.do(sessions.revoke, contract.RevokeSession(session_id=bobs), who)
    await auth.do(sessions.revoke_others, contract.RevokeOtherSessions(), who)
    (left,) = (await auth.do(sessions.page, contract.ListSessions(), who)).items
    assert (left.id, left.current) == (mine, True)
    (his,) = (await auth.do(sessions.page, contract.ListSessions(), principal(bob.id))).items
    assert his.id == bobs
    assert [body["sessionId"] for _, body in await auth.told() if "sessionId" in body] == [str(other)]
    await auth.do(sessions.logout, contract.Logout(), who)
    assert (await auth.do(sessions.page, contract.ListSessions(), who)).items == ()


async def test_a_token_is_for_what_there_is_and_for_later(auth: Scene, tokens: Tokens) -> None:
    ada = principal((await person(auth, "ada")).id)
    past = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(errors.BadExpiry):
        await auth.do(tokens.create, contract.CreateToken(name="late", expires_at=past), ada)
    with pytest.raises(errors.UnknownScope):
        await auth.do(tokens.create, contract.CreateToken(name="odd", scopes=("weather:read",)), ada)
    made = await auth.do(
        tokens.create, contract.CreateToken(name="ci", scopes=("projects:read", "projects:read")), ada
    )
    assert made.scopes == ("projects:read",)
    (listed,) = (await auth.do(tokens.page, contract.ListTokens(), ada)).items
    assert (listed.id, listed.hint) == (made.id, made.token[-4:])


async def test_nobody_revokes_anothers_token(auth: Scene, tokens: Tokens) -> None:
    ada, bob = principal((await person(auth, "ada")).id), principal((await person(auth, "bob")).id)
    token = await auth.do(tokens.create, contract.CreateToken(name="ci"), ada)
    revoke = contract.RevokeToken(token_id=token.id)
    with pytest.raises(errors.TokenNotFound):
        await auth.do(tokens.revoke, revoke, bob)
    await auth.do(tokens.revoke, revoke, ada)
    with pytest.raises(errors.TokenNotFound):
        await auth.do(tokens.revoke, revoke, ada)
    assert [_said(body) for _, body in await auth.told()] == [{"tokenId": str(token.id)}]


async def test_the_tokens_of_an_account_are_its_projects(auth: Scene, tokens: Tokens) -> None:
    ada = await project(auth, await person(auth, "ada"))
    bob = await project(auth, await person(auth, "bob"))
    robot = await account(auth, ada)
    ask = contract.CreateServiceAccountToken(account_id=robot, name="ci")
    with pytest.raises(errors.AccountNotFound):
        await auth.do(tokens.create_for_account, ask, bob)
    token = await auth.do(tokens.create_for_account, ask, ada)
    revoke = contract.RevokeServiceAccountToken(account_id=robot, token_id=token.id)
    with pytest.raises(errors.AccountNotFound):
        await auth.do(tokens.revoke_of_account, revoke, bob)
    await auth.do(tokens.revoke_of_account, revoke, ada)


async def test_a_device_is_decided_about_once(auth: Scene, sessions: Sessions) -> None:
    waiting = Devices(auth.database, sessions)
    ada, bob = principal((await person(auth, "ada")).id), principal((await person(auth, "bob")).id)
    started = await auth.do(waiting.start, contract.StartDevice())
    shown = await auth.do(waiting.info, contract.GetDevice(user_code=started.user_code), ada)
    assert shown.client_name == "command line"
    typed = started.user_code.lower().replace("-", " ")
    await auth.do(waiting.decide, contract.DecideDevice(user_code=typed, approve=False), ada)
    with pytest.raises(errors.DeviceNotFound):
        await auth.do(waiting.decide, contract.DecideDevice(user_code=typed, approve=True), bob)
    with pytest.raises(SignalboxError) as denied:
        await auth.do(waiting.poll, contract.PollDevice(device_code=SecretStr(started.device_code)))
    assert denied.value.code == errors.DeviceDenied.code
