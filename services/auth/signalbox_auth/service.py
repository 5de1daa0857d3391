"""The use cases of the auth service."""

import base64
import secrets
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signalbox_auth import domain
from signalbox_auth.passwords import Passwords
from signalbox_auth.store import SealedKey, Store
from signalbox_common import telemetry
from signalbox_common.bus import Call
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import MAX_BODY, OWNERS
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import Invalid
from signalbox_common.inbox import Outcome
from signalbox_common.keys import Sealer, uuid7
from signalbox_common.principal import (
    ACCESS_AUDIENCE,
    GRANT_LIFE,
    KeyRing,
    Principal,
    SigningKey,
    TokenVerifier,
)

log = telemetry.get_logger()

PublishKey = Callable[[str, bytes], Awaitable[None]]
_SLUG_TRIES = 5
PAGE_BYTES = MAX_BODY


class AuthService:
    def __init__(
        self,
        database: Database,
        store: Store,
        passwords: Passwords,
        sealer: Sealer,
        keys: KeyRing,
        *,
        access_life: timedelta,
    ) -> None:
        self._database = database
        self._store = store
        self._passwords = passwords
        self._sealer = sealer
        self._access_tokens = TokenVerifier(keys, "at+jwt", ACCESS_AUDIENCE)
        self._access_life = access_life
        self._key: SigningKey | None = None

    # -- start -------------------------------------------------------------------------------------

    async def load_keys(self, publish: PublishKey) -> None:
        """Makes the first signing key if there is none, and publishes the public half of each."""
        async with self._database.transaction() as transaction:
            await self._store.lock_keys(transaction)
            sealed = await self._store.keys(transaction.connection)
            if not sealed:
                kid = f"k{secrets.token_hex(8)}"
                private = Ed25519PrivateKey.generate().private_bytes_raw()
                sealed = [SealedKey(kid, self._sealer.seal(private, kid))]
                await self._store.add_key(transaction, sealed[0])
        for key in sealed:
            private_key = Ed25519PrivateKey.from_private_bytes(self._sealer.open(key.sealed, key.kid))
            self._key = SigningKey(key.kid, private_key)
            await publish(key.kid, self._key.public)

    async def ensure_admin(self, password: str) -> None:
        """The first admin, made once; a later start changes nothing."""
        async with self._database.reading() as connection:
            if await self._store.username_exists(connection, "admin"):
                return
        admin = _new_user(
            "admin", "admin@localhost.localdomain", "Administrator", contract.PlatformRole.ADMIN
        )
        password_hash = await self._passwords.hash(password)
        async with self._database.transaction() as transaction:
            if await self._store.add_user(transaction, admin, password_hash) is not None:
                await self._registered(transaction, admin)
                log.info("first admin created", username=admin.username)

    # -- users and sessions ------------------------------------------------------------------------

    async def register(self, call: Call, ask: contract.Register) -> Outcome[contract.User]:
        password_hash = await self._passwords.hash(ask.password.get_secret_value())
        user = _new_user(
            ask.username, ask.email, ask.display_name or ask.username, contract.PlatformRole.USER
        )

        async def work(transaction: Transaction) -> contract.User:
            added = await self._store.add_user(transaction, user, password_hash)
            if added is None:
                if await self._store.username_exists(transaction.connection, user.username):
                    raise domain.UsernameTaken
                raise domain.EmailTaken
            await self._registered(transaction, added)
            return _user_reply(added)

        return await call.once(work)

    async def login(self, ask: contract.Login) -> contract.Session:
        login = ask.username or ask.email
        if not login:
            raise Invalid("A user name or an e-mail address is needed.")
        async with self._database.reading() as connection:
            found = await self._store.user_with_hash(connection, login)
        user, stored = found if found is not None else (None, None)
        password = ask.password.get_secret_value()
        if not await self._passwords.verify(stored, password) or user is None or stored is None:
            raise domain.BadCredentials
        if self._passwords.outdated(stored):
            password_hash = await self._passwords.hash(password)
            async with self._database.transaction(actor=user.id) as transaction:
                await self._store.set_password_hash(transaction, user.id, password_hash)
        token = self._signing_key.sign(
            "at+jwt",
            ACCESS_AUDIENCE,
            self._access_life,
            {"sub": str(user.id), "usr": user.username, "sid": str(uuid7()), "jti": str(uuid7())},
        )
        return contract.Session(access_token=token, expires_in=int(self._access_life.total_seconds()))

    async def me(self, principal: Principal) -> contract.User:
        async with self._database.reading() as connection:
            user = await self._store.user(connection, principal.user_id)
        if user is None:
            raise domain.NoSuchUser
        return _user_reply(user)

    # -- grants ------------------------------------------------------------------------------------

    async def grant(self, query: contract.GetGrant) -> contract.Grant:
        """For the person whose token it is, and nobody's word beside it."""
        if query.audience not in OWNERS:
            raise Invalid(f"Nobody answers to {query.audience}.")
        claims = await self._access_tokens.verify(query.token.get_secret_value())
        user_id = uuid.UUID(claims["sub"])
        async with self._database.reading() as connection:
            user = await self._store.user(connection, user_id)
            if user is None:
                raise domain.NoSuchUser
            role = None
            if query.project is not None:
                role = await self._store.role_in(connection, query.project, user_id)
                if role is None:
                    raise domain.NoSuchProject
        about = {"sub": str(user.id), "usr": user.username, "rol": user.role}
        if role is not None:
            about |= {"prj": str(query.project), "prr": role}
        expires_at = datetime.now(UTC) + GRANT_LIFE
        grant = self._signing_key.sign("grant+jwt", query.audience, GRANT_LIFE, about)
        return contract.Grant(grant=grant, expires_at=expires_at)

    # -- projects ----------------------------------------------------------------------------------

    async def create_project(self, call: Call, command: contract.CreateProject) -> Outcome[contract.Project]:
        creator = call.principal

        async def work(transaction: Transaction) -> contract.Project:
            project = await self._add_with_free_slug(transaction, command, creator.user_id)
            await self._store.add_member(transaction, project.id, creator.user_id, contract.ProjectRole.OWNER)
            created = contract.ProjectCreated(
                id=project.id, name=project.name, slug=project.slug, created_by=creator.user_id
            )
            await self._store.record(transaction, created, project=project.id)
            return _project_reply(project)

        return await call.once(work)

    async def _add_with_free_slug(
        self, transaction: Transaction, command: contract.CreateProject, creator: uuid.UUID
    ) -> domain.Project:
        slug = domain.checked_slug(command.slug) if command.slug else domain.slug_of(command.name)
        for _ in range(_SLUG_TRIES):
            now = datetime.now(UTC)
            project = domain.Project(
                id=uuid7(),
                name=command.name,
                slug=slug,
                description=command.description,
                role=contract.ProjectRole.OWNER,
                created_at=now,
                updated_at=now,
            )
            if await self._store.add_project(transaction, project, creator):
                return project
            if command.slug:
                break
            slug = domain.suffixed(domain.slug_of(command.name), secrets.token_hex(4))
        raise domain.SlugTaken

    async def projects(self, principal: Principal, query: contract.ListProjects) -> contract.ProjectPage:
        async with self._database.reading() as connection:
            found = await self._store.projects_of(
                connection,
                principal.user_id,
                limit=query.limit + 1,
                before=_read_cursor(query.cursor),
                search=query.q,
            )
        items = _fitting([_project_reply(project) for project in found[: query.limit]])
        more = len(found) > len(items)
        return contract.ProjectPage(items=items, next_cursor=_cursor(items[-1].id) if more else None)

    async def project(self, principal: Principal) -> contract.Project:
        async with self._database.reading() as connection:
            project = await self._store.project(connection, principal.project(), principal.user_id)
        if project is None:
            raise domain.NoSuchProject
        return _project_reply(project)

    # ----------------------------------------------------------------------------------------------

    async def _registered(self, transaction: Transaction, user: domain.User) -> None:
        await self._store.record(
            transaction, contract.UserRegistered(id=user.id, username=user.username), project=None
        )

    @property
    def _signing_key(self) -> SigningKey:
        if self._key is None:
            raise RuntimeError("load_keys comes first")
        return self._key


def _new_user(username: str, email: str, display_name: str, role: contract.PlatformRole) -> domain.User:
    return domain.User(
        id=uuid7(),
        username=username,
        email=email,
        display_name=display_name,
        role=role,
        created_at=datetime.now(UTC),
    )


def _user_reply(user: domain.User) -> contract.User:
    return contract.User(
        id=user.id,
        username=user.username,
        email=user.email,
        display_name=user.display_name,
        role=user.role,
        created_at=user.created_at,
    )


def _project_reply(project: domain.Project) -> contract.Project:
    return contract.Project(
        id=project.id,
        name=project.name,
        slug=project.slug,
        description=project.description,
        role=project.role,
        created_at=project.created_at,
        updated_at=project.updated_at,
    )


def _fitting(projects: list[contract.Project]) -> tuple[contract.Project, ...]:
    """As many as fit into a page; at least one."""
    size = 0
    page: list[contract.Project] = []
    for project in projects:
        size += len(project.encode())
        if page and size > PAGE_BYTES:
            break
        page.append(project)
    return tuple(page)


def _cursor(last: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(last.bytes).rstrip(b"=").decode()


def _read_cursor(cursor: str | None) -> uuid.UUID | None:
    if cursor is None:
        return None
    try:
        return uuid.UUID(bytes=base64.urlsafe_b64decode(cursor + "=="))
    except ValueError as error:
        raise domain.BadCursor from error
