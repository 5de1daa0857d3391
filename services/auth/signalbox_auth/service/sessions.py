"""Sessions: signing in, staying signed in, and ending it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from signalbox_auth import errors
from signalbox_auth.domain import attempts
from signalbox_auth.domain.names import folded
from signalbox_auth.domain.sessions import RefreshToken, RefreshTokens, Session, Use, use_of
from signalbox_auth.domain.users import User
from signalbox_auth.passwords import Passwords
from signalbox_auth.service.keys import Keys
from signalbox_auth.store import attempts as attempt_rows
from signalbox_auth.store import sessions as rows
from signalbox_auth.store import users as user_rows
from signalbox_common.bus import Call
from signalbox_common.bus.headers import Client
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.outcomes import Outcome
from signalbox_common.tokens import ACCESS, ACCESS_AUDIENCE

_MORE = user_rows.UNCONFIRMED_TRIED


@dataclass(frozen=True)
class Lives:
    """How long things last."""

    access: timedelta
    idle: timedelta
    """A session that is not used for this long is over."""
    longest: timedelta


class Sessions:
    def __init__(
        self, database: Database, passwords: Passwords, keys: Keys, tokens: RefreshTokens, lives: Lives
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._keys = keys
        self._tokens = tokens
        self._lives = lives

    async def login(self, call: Call, ask: contract.Login) -> Outcome[contract.TokenPair]:
        login = ask.username or ask.email
        if not login:
            raise errors.LoginMissing
        password = ask.password.get_secret_value()
        found, failed, renewed = await self._check(login, password, call.client)

        async def work(transaction: Transaction) -> contract.TokenPair:
            # Held until the end: whatever ends this user's sessions comes before this one, or ends it too.
            locked = await user_rows.lock(transaction, found.user.id)
            if locked is None or not locked[0].active or locked[1] not in (found.password_hash, renewed):
                raise errors.BadCredentials(found.user.username)
            if failed is not None:
                await attempt_rows.forget(transaction, failed)
            if not found.known_place:
                now = datetime.now(UTC)
                await attempt_rows.remember_place(transaction, found.user.id, call.client.address, now)
            return await self.begin(transaction, found.user, call.client)

        return await call.once(work)

    async def _check(
        self, login: str, password: str, client: Client
    ) -> tuple[user_rows.Login, attempts.Count | None, str | None]:
        """Whoever has this password, the failures before, and the hash that was made anew, if any.

        However many guesses arrive together, only a handful are decided about at the same time.
        """
        async with self._passwords.turn():
            async with self._database.reading() as connection:
                said = await user_rows.by_login(connection, login, client.address)
                # By the account, where there is one: its name and its address are not two accounts.
                accounts = {str(each.user.id): each.known_place for each in said} or {folded(login): False}
                pairs = {
                    account: attempts.counts_of(account, client.address, known_place=known)
                    for account, known in accounts.items()
                }
                counts = list({each.key: each for some in pairs.values() for each in some}.values())
                until = await attempt_rows.check(connection, counts)
            found = await self._whose(said, password, 1 + _MORE if user_rows.is_address(login) else 1)
            if found is None or found.password_hash is None:
                async with self._database.transaction() as transaction:
                    await attempt_rows.failed(transaction, counts, datetime.now(UTC))
                raise errors.BadCredentials(said[-1].user.username if said else None)
            renewed = await self._renewed(found.user, found.password_hash, password)
        own = pairs[str(found.user.id)][0]
        return found, own if until is not None else None, renewed

    async def _whose(
        self, said: Sequence[user_rows.Login], password: str, tries: int
    ) -> user_rows.Login | None:
        """A failure takes as long whoever says that an address is theirs, or nobody."""
        for each in said:
            if await self._passwords.verify(each.password_hash, password) and each.user.active:
                return each
        for _ in range(tries - len(said)):
            await self._passwords.verify(None, password)
        return None

    async def _renewed(self, user: User, stored: str, password: str) -> str | None:
        """The hash that there is now, where the one that there was is not made like today's."""
        if not self._passwords.outdated(stored):
            return None
        renewed = await self._passwords.hash(password)
        async with self._database.transaction(actor=user.id) as transaction:
            if await user_rows.replace_password_hash(transaction, user.id, stored, renewed):
                return renewed
            # Another login of the same moment was faster, or the password was changed.
            current = await user_rows.password_hash_of(transaction.connection, user.id)
        if current is None or not await self._passwords.verify(current, password):
            raise errors.BadCredentials(user.username)
        return current

    async def begin(self, transaction: Transaction, user: User, client: Client) -> contract.TokenPair:
        """A new session of somebody who has proved who they are."""
        transaction.actor, transaction.actor_name = user.id, user.username
        now = datetime.now(UTC)
        token = self._tokens.first(uuid7())
        session = Session(
            id=token.session_id,
            user_id=user.id,
            client=client.agent,
            address=client.address,
            created_at=now,
            last_used_at=now,
            expires_at=now + self._lives.idle,
            generation=0,
            refresh_hash=token.hash,
            rotated_at=None,
        )
        await rows.add(transaction, session)
        return self._signed_in(user, token, session.expires_at, now)

    async def refresh(self, call: Call, ask: contract.Refresh) -> Outcome[contract.TokenPair]:
        token = self._tokens.read(ask.refresh_token.get_secret_value())
        if token is None:
            raise errors.BadRefreshToken

        async def work(transaction: Transaction) -> contract.TokenPair:
            now = datetime.now(UTC)
            session = await rows.lock(transaction, token.session_id)
            use = use_of(session, token, now) if session is not None else Use.DEAD
            successor = self._tokens.after(token)
            if session is None or use is Use.DEAD:
                raise errors.BadRefreshToken
            if use is Use.AGAIN and successor.hash != session.refresh_hash:
                use = Use.REUSED
            user = await user_rows.get(transaction.connection, session.user_id)
            if user is None or not user.active:
                raise errors.BadRefreshToken
            transaction.actor, transaction.actor_name = user.id, user.username
            if use is Use.REUSED:
                # Somebody else has a copy: nobody may go on with this session.
                await rows.revoke(transaction, user.id, "refresh_token_reused", only=session.id)
                raise errors.RefreshTokenReused
            expires_at = session.expires_at
            if use is Use.ROTATE:
                expires_at = min(now + self._lives.idle, session.created_at + self._lives.longest)
                await rows.rotate(
                    transaction, successor, now=now, expires_at=expires_at, address=call.client.address
                )
            return self._signed_in(user, successor, expires_at, now)

        return await call.once(work)

    def _signed_in(
        self, user: User, token: RefreshToken, expires_at: datetime, now: datetime
    ) -> contract.TokenPair:
        access = self._keys.current.sign(
            ACCESS,
            ACCESS_AUDIENCE,
            self._lives.access,
            {"sub": str(user.id), "usr": user.username, "sid": str(token.session_id)},
        )
        return contract.TokenPair(
            access_token=access,
            expires_in=int(self._lives.access.total_seconds()),
            refresh_token=self._tokens.write(token),
            refresh_expires_in=max(int((expires_at - now).total_seconds()), 0),
            session_id=token.session_id,
        )

    # -- ending ------------------------------------------------------------------------------------

    async def logout(self, call: Call, _ask: contract.Logout) -> Empty:
        await rows.revoke(
            call.transaction, call.principal.user_id, rows.LOGOUT, only=call.principal.session_id
        )
        return Empty()

    async def page(self, call: Call, _query: contract.ListSessions) -> contract.SessionPage:
        async with self._database.reading() as connection:
            found = await rows.live(connection, call.principal.user_id)
        items = [
            contract.Session(
                id=session.id,
                current=session.id == call.principal.session_id,
                client=session.client,
                address=session.address,
                created_at=session.created_at,
                last_used_at=session.last_used_at,
                expires_at=session.expires_at,
            )
            for session in found
        ]
        return contract.SessionPage(items=tuple(items))

    async def revoke(self, call: Call, command: contract.RevokeSession) -> Empty:
        ended = await rows.revoke(
            call.transaction, call.principal.user_id, "revoked", only=command.session_id
        )
        if not ended:
            raise errors.SessionNotFound
        return Empty()

    async def revoke_others(self, call: Call, _command: contract.RevokeOtherSessions) -> Empty:
        await rows.revoke(call.transaction, call.principal.user_id, "revoked", but=call.principal.session_id)
        return Empty()
