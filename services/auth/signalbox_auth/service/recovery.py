"""Getting back into an account, and showing that one is reached at an address."""

import uuid
from datetime import UTC, datetime

from signalbox_auth import errors
from signalbox_auth.domain.links import BY_ADMIN, OneTimeLink, Purpose, StoredLink
from signalbox_auth.domain.passwords import check_password
from signalbox_auth.domain.tokens import hash_of
from signalbox_auth.domain.users import User
from signalbox_auth.passwords import Passwords
from signalbox_auth.service.letters import Letters
from signalbox_auth.store import facts
from signalbox_auth.store import links as rows
from signalbox_auth.store import sessions as session_rows
from signalbox_auth.store import tokens as token_rows
from signalbox_auth.store import users as user_rows
from signalbox_common.bus import Call
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.db import Database, Transaction
from signalbox_common.outcomes import Outcome


class Recovery:
    def __init__(self, database: Database, passwords: Passwords, letters: Letters) -> None:
        self._database = database
        self._passwords = passwords
        self._letters = letters

    async def create(self, call: Call, ask: contract.CreatePasswordReset) -> contract.PasswordReset:
        transaction = call.transaction
        if ask.mail:
            self._letters.check()
        locked = await user_rows.lock(transaction, ask.user_id)
        if locked is None or not locked[0].active or locked[0].kind != "person":
            raise errors.UserNotFound
        user = locked[0]
        await rows.forget(transaction, user.id, Purpose.RESET)
        link = OneTimeLink.new(Purpose.RESET)
        expires_at = datetime.now(UTC) + BY_ADMIN
        await rows.add(transaction, link, expires_at, user_id=user.id, mailed=False)
        if ask.mail:
            await self._letters.about_reset(transaction, user.id)
        return contract.PasswordReset(
            token=link.token, username=user.username, expires_at=expires_at, mailed=ask.mail
        )

    async def forgotten(self, call: Call, ask: contract.ForgotPassword) -> Empty:
        """Whether anybody is reached there is looked up later: this takes as long in any case."""
        self._letters.check()
        await self._letters.about_forgotten(call.transaction, ask.email)
        return Empty()

    async def reset(self, call: Call, ask: contract.ResetPassword) -> Outcome[contract.PasswordChanged]:
        """What is not good is refused before anything is hashed."""
        hashed, new = hash_of(ask.token.get_secret_value()), ask.new_password.get_secret_value()
        link, user = await self._found(hashed, Purpose.RESET)
        check_password(new, username=user.username, email=user.email or "")
        async with self._passwords.turn():
            password_hash = await self._passwords.hash(new)

        async def work(transaction: Transaction) -> contract.PasswordChanged:
            user = await self._used(transaction, hashed, link)
            await user_rows.set_password_hash(transaction, user.id, password_hash)
            if link.mailed:
                await user_rows.confirm_email(transaction, user)
            await session_rows.revoke(transaction, user.id, "password_reset")
            facts.record(transaction, contract.UserChanged(id=user.id, username=user.username))
            return await changed(transaction, user.id, end_tokens=ask.end_tokens)

        return await call.once(work)

    async def confirm(self, call: Call, ask: contract.ConfirmEmail) -> Empty:
        hashed = hash_of(ask.token.get_secret_value())
        link, _ = await self._found(hashed, Purpose.CONFIRM)
        user = await self._used(call.transaction, hashed, link)
        if not await user_rows.confirm_email(call.transaction, user):
            raise errors.EmailTaken
        return Empty()

    async def _found(self, hashed: bytes, purpose: Purpose) -> tuple[StoredLink, User]:
        async with self._database.reading() as connection:
            link = await rows.find(connection, hashed, purpose)
            user = await user_rows.get(connection, link.user_id) if link and link.user_id else None
        if link is None or user is None or not user.active:
            raise errors.BadLink
        return link, user

    @staticmethod
    async def _used(transaction: Transaction, hashed: bytes, link: StoredLink) -> User:
        """The user first, as those do who end all of a user's sessions; then, once, the link."""
        locked = await user_rows.lock(transaction, link.user_id) if link.user_id is not None else None
        if locked is None or not locked[0].active or not await rows.use(transaction, hashed):
            raise errors.BadLink
        transaction.actor, transaction.actor_name = locked[0].id, locked[0].username
        return locked[0]


async def changed(
    transaction: Transaction, user_id: uuid.UUID, *, end_tokens: bool
) -> contract.PasswordChanged:
    """What a new password leaves: no link, and API tokens unless those are to end."""
    await rows.forget(transaction, user_id, Purpose.RESET)
    ended = await token_rows.revoke(transaction, user_id) if end_tokens else 0
    remaining = await token_rows.count(transaction.connection, user_id)
    return contract.PasswordChanged(tokens_ended=ended, tokens_remaining=remaining)
