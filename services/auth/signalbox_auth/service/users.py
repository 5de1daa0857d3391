"""Users: registering, changing, deactivating."""

from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from signalbox_auth import errors
from signalbox_auth.domain.attempts import counts_of
from signalbox_auth.domain.links import Purpose
from signalbox_auth.domain.names import check_unreserved, is_same_mailbox
from signalbox_auth.domain.passwords import check_password, checked_hash
from signalbox_auth.domain.users import User, new_person
from signalbox_auth.passwords import Passwords
from signalbox_auth.service import projects
from signalbox_auth.service.invitations import Invitations
from signalbox_auth.service.letters import Letters
from signalbox_auth.service.recovery import changed
from signalbox_auth.store import attempts as attempt_rows
from signalbox_auth.store import facts
from signalbox_auth.store import links as link_rows
from signalbox_auth.store import projects as project_rows
from signalbox_auth.store import sessions as session_rows
from signalbox_auth.store import tokens as token_rows
from signalbox_auth.store import users as rows
from signalbox_common import telemetry
from signalbox_common.bus import Call
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.roles import PlatformRole
from signalbox_common.db import Database, Transaction
from signalbox_common.outcomes import Outcome
from signalbox_common.paging import cut, id_cursor, read_id_cursor

log = telemetry.get_logger()

_BATCH = 100


class Users:
    def __init__(
        self, database: Database, passwords: Passwords, invitations: Invitations, letters: Letters
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._invitations = invitations
        self._letters = letters

    # -- start -------------------------------------------------------------------------------------

    async def ensure_admin(self, password: str) -> None:
        """The first admin, made once; a later start changes nothing."""
        async with self._database.reading() as connection:
            if await rows.username_exists(connection, "admin"):
                return
        admin = new_person("admin", "admin@localhost.localdomain", "Administrator", PlatformRole.ADMIN)
        async with self._passwords.turn():
            password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as transaction:
            if await rows.add(transaction, admin, password_hash):
                await self._welcome(transaction, admin)
                log.info("first admin created", username=admin.username)

    async def ensure_personal_projects(self) -> None:
        """Gives one to everybody who is from before there were any."""
        while True:
            async with self._database.transaction() as transaction:
                without = await project_rows.people_without_own(transaction.connection, _BATCH)
                for user_id in without:
                    locked = await rows.lock(transaction, user_id)
                    # Another process may have been faster while we waited for the user.
                    if locked is not None and not await project_rows.has_own(transaction.connection, user_id):
                        await projects.add_personal(transaction, locked[0])
            if not without:
                return

    # -- people ------------------------------------------------------------------------------------

    async def register(self, call: Call, ask: contract.Register) -> Outcome[contract.User]:
        """Whoever is reached at the address already hears of it, and nobody else: the account is made in any
        case, and its address is one that somebody says is theirs."""
        token = ask.invitation.get_secret_value() if ask.invitation is not None else None
        reached = await self._invitations.check(token, ask.email)
        check_unreserved(ask.username, "username")
        check_unreserved(ask.display_name, "displayName")
        password = ask.password.get_secret_value()
        check_password(password, username=ask.username, email=ask.email)
        async with self._passwords.turn_of_newcomer():
            password_hash = await self._passwords.hash_of_newcomer(password)
        user = new_person(
            ask.username,
            ask.email,
            ask.display_name or ask.username,
            PlatformRole.USER,
            email_confirmed=False,
        )

        async def work(transaction: Transaction) -> contract.User:
            invitation = None
            if token is not None:
                invitation = await self._invitations.take(transaction, token, ask.email)
            if not await rows.add(transaction, user, password_hash):
                raise errors.UsernameTaken
            await self._welcome(transaction, user)
            if invitation is not None:
                await self._invitations.accept(transaction, invitation, user)
            if not (reached and await rows.confirm_email(transaction, user)):
                await self._letters.about_address(transaction, user.id)
            return _reply(user)

        return await call.once(work)

    async def admin_register(self, call: Call, ask: contract.AdminRegister) -> Outcome[contract.User]:
        if ask.password is not None and ask.password_hash is None:
            password = ask.password.get_secret_value()
            check_password(password, username=ask.username, email=ask.email)
            async with self._passwords.turn():
                password_hash = await self._passwords.hash(password)
        elif ask.password_hash is not None and ask.password is None:
            password_hash = checked_hash(ask.password_hash.get_secret_value())
        else:
            raise errors.BadPasswordHash
        user = new_person(ask.username, ask.email, ask.display_name or ask.username, ask.role)
        return await self._add(call, user, password_hash)

    async def _add(self, call: Call, user: User, password_hash: str) -> Outcome[contract.User]:
        async def work(transaction: Transaction) -> contract.User:
            if not await rows.add(transaction, user, password_hash):
                if await rows.username_exists(transaction.connection, user.username):
                    raise errors.UsernameTaken
                raise errors.EmailTaken
            await self._welcome(transaction, user)
            return _reply(user)

        return await call.once(work)

    async def me(self, call: Call, _query: contract.GetMe) -> contract.User:
        async with self._database.reading() as connection:
            user = await rows.get(connection, call.principal.user_id)
        if user is None:
            raise errors.NoSuchUser
        return _reply(user)

    async def update_me(self, call: Call, command: contract.UpdateMe) -> contract.User:
        transaction = call.transaction
        locked = await rows.lock(transaction, call.principal.user_id)
        if locked is None:
            raise errors.NoSuchUser
        before = locked[0]
        if command.email is not None and command.email != before.email:
            raise errors.PasswordNeeded
        changes = _name_of(before, command.display_name)
        if not changes and command.email is None:
            raise errors.NothingToChange
        user = await rows.change(transaction, before, **changes)
        facts.record(transaction, contract.UserChanged(id=user.id, username=user.username))
        return _reply(user)

    async def change_email(self, call: Call, ask: contract.ChangeEmail) -> Outcome[contract.User]:
        """Told alike whether the address is known or not; who was reached at the old one hears of it."""
        user, stored = await self._signed_in(call)
        name = _name_of(user, ask.display_name)
        async with self._passwords.turn():
            await self._check_password(call, user, stored, ask.current_password)

        async def work(transaction: Transaction) -> contract.User:
            locked = await rows.lock(transaction, user.id)
            if locked is None or locked[1] != stored:
                raise errors.WrongPassword
            before = locked[0]
            same = before.email is not None and is_same_mailbox(ask.email, before.email)
            changes: dict[str, object] = name | {"email": ask.email}
            if not same:
                changes["email_confirmed"] = False
                await link_rows.forget(transaction, user.id, Purpose.RESET, Purpose.CONFIRM)
                if before.email is not None and before.email_confirmed:
                    await self._letters.about_left(transaction, user.id, before.email)
            after = await rows.change(transaction, before, **changes)
            if not after.email_confirmed:
                await self._letters.about_address(transaction, user.id)
            facts.record(transaction, contract.UserChanged(id=after.id, username=after.username))
            return _reply(after)

        return await call.once(work)

    async def change_password(
        self, call: Call, ask: contract.ChangePassword
    ) -> Outcome[contract.PasswordChanged]:
        """Ends every other session: whoever knew the old password must not stay."""
        principal = call.principal
        new = ask.new_password.get_secret_value()
        user, stored = await self._signed_in(call)
        check_password(new, username=user.username, email=user.email or "")
        async with self._passwords.turn():
            await self._check_password(call, user, stored, ask.current_password)
            password_hash = await self._passwords.hash(new)

        async def work(transaction: Transaction) -> contract.PasswordChanged:
            locked = await rows.lock(transaction, principal.user_id)
            if locked is None or locked[1] != stored:
                raise errors.WrongPassword  # somebody was faster: what was given is the old password
            await rows.set_password_hash(transaction, principal.user_id, password_hash)
            await session_rows.revoke(
                transaction, principal.user_id, "password_changed", but=principal.session_id
            )
            facts.record(transaction, contract.UserChanged(id=user.id, username=user.username))
            return await changed(transaction, principal.user_id, end_tokens=ask.end_tokens)

        return await call.once(work)

    async def _signed_in(self, call: Call) -> tuple[User, str]:
        """Who asks, and the hash of their password."""
        async with self._database.reading() as connection:
            user = await rows.get(connection, call.principal.user_id)
            stored = await rows.password_hash_of(connection, call.principal.user_id)
        if user is None or stored is None:
            raise errors.NoSuchUser
        return user, stored

    async def _check_password(self, call: Call, user: User, stored: str, given: SecretStr) -> None:
        """Within a turn; whoever has got hold of a session must not find the password out with it."""
        counts = counts_of(str(user.id), call.client.address, known_place=True)
        async with self._database.reading() as connection:
            await attempt_rows.check(connection, counts)
        if not await self._passwords.verify(stored, given.get_secret_value()):
            async with self._database.transaction() as transaction:
                await attempt_rows.failed(transaction, counts, datetime.now(UTC))
            raise errors.WrongPassword

    # -- administration ----------------------------------------------------------------------------

    async def page(self, _call: Call, query: contract.ListUsers) -> contract.UserPage:
        async with self._database.reading() as connection:
            found = await rows.page(
                connection,
                limit=query.limit + 1,
                before=read_id_cursor(query.cursor),
                search=query.q,
                active=query.active,
            )
        items, cursor = cut([_managed(user) for user in found], query.limit, lambda user: id_cursor(user.id))
        return contract.UserPage(items=items, next_cursor=cursor)

    async def get(self, _call: Call, query: contract.GetUser) -> contract.ManagedUser:
        async with self._database.reading() as connection:
            user = await rows.get(connection, query.user_id)
        if user is None:
            raise errors.UserNotFound
        return _managed(user)

    async def update(self, call: Call, command: contract.UpdateUser) -> contract.ManagedUser:
        transaction = call.transaction
        admins = await rows.active_admins(transaction)
        locked = await rows.lock(transaction, command.user_id)
        if locked is None:
            raise errors.UserNotFound
        user = locked[0]
        stays_admin = (command.role or user.role) is PlatformRole.ADMIN and command.active is not False
        if admins == [user.id] and not stays_admin:
            raise errors.LastAdmin
        changes = await _changes(transaction, user, command)
        if command.role is not None:
            changes["role"] = command.role
        if command.active is not None and command.active is not user.active:
            changes["deactivated_at"] = None if command.active else datetime.now(UTC)
        changed = await rows.change(transaction, user, **changes)
        await self._changed(transaction, user, changed)
        return _managed(changed)

    async def _changed(self, transaction: Transaction, before: User, after: User) -> None:
        if before.email != after.email or not after.active:
            await link_rows.forget(transaction, after.id, Purpose.RESET, Purpose.CONFIRM)
        if before.active and not after.active:
            await session_rows.revoke(transaction, after.id, "deactivated")
            await token_rows.revoke(transaction, after.id)
            facts.record(transaction, contract.UserDeactivated(id=after.id, username=after.username))
        else:
            facts.record(transaction, contract.UserChanged(id=after.id, username=after.username))
        if before.role is not after.role or before.active is not after.active:
            await rows.outdate_grants(transaction, after.id)

    @staticmethod
    async def _welcome(transaction: Transaction, user: User) -> None:
        facts.record(transaction, contract.UserRegistered(id=user.id, username=user.username))
        await projects.add_personal(transaction, user)


def _name_of(user: User, display_name: str | None) -> dict[str, object]:
    """What it changes; administrators may call themselves so."""
    if display_name is None:
        return {}
    if user.role is not PlatformRole.ADMIN:
        check_unreserved(display_name, "displayName")
    return {"display_name": display_name}


async def _changes(transaction: Transaction, user: User, command: contract.UpdateUser) -> dict[str, object]:
    """What the command sets; an administrator knows who is reached at an address."""
    changes: dict[str, object] = {}
    if command.display_name is not None:
        changes["display_name"] = command.display_name
    if command.email is not None:
        other = await rows.reached_at(transaction.connection, command.email)
        if other is not None and other.id != user.id:
            raise errors.EmailTaken
        changes |= {"email": command.email, "email_confirmed": True}
    if not changes and not command.changes_standing():
        raise errors.NothingToChange
    return changes


def _reply(user: User) -> contract.User:
    return contract.User(**_shown(user))


def _managed(user: User) -> contract.ManagedUser:
    return contract.ManagedUser(**_shown(user), active=user.active, kind=user.kind)


def _shown(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "email_confirmed": user.email_confirmed,
        "display_name": user.display_name,
        "role": user.role,
        "created_at": user.created_at,
    }
