"""Grants: signed statements for one service about who asks, made from the database of this moment."""

import hashlib
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_auth import errors
from signalbox_auth.domain import tokens as api_tokens
from signalbox_auth.service.keys import Keys
from signalbox_auth.store import access as rows
from signalbox_auth.store import facts
from signalbox_auth.store import tokens as token_rows
from signalbox_auth.store.access import Holder
from signalbox_common import telemetry
from signalbox_common.bus import Call
from signalbox_common.bus import headers as h
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Empty, GrantScope
from signalbox_common.contracts.events import AuditRecorded
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import uuid7
from signalbox_common.outcomes import Outcome
from signalbox_common.principal import GrantVerifier, Principal
from signalbox_common.programs import OWNERS
from signalbox_common.revoked import Revocations
from signalbox_common.tokens import ACCESS, ACCESS_AUDIENCE, GRANT, GRANT_LIFE, KeyRing, TokenVerifier

log = telemetry.get_logger()

_USE_NOTED_EVERY = timedelta(minutes=1)
_PREFIX = "sbx_dlg_"
_IN_THE_STREAM = timedelta(days=7)
"""As long as a command may wait."""
_CLOCKS = timedelta(seconds=5)
"""By which the stream's clock may be ahead of ours."""


class Grants:
    def __init__(self, database: Database, keys: Keys, ring: KeyRing, revoked: Revocations) -> None:
        self._database = database
        self._keys = keys
        self._access_tokens = TokenVerifier(ring, ACCESS, ACCESS_AUDIENCE)
        self._proofs = {service: GrantVerifier(ring, revoked, service) for service in OWNERS}

    async def identify(self, _call: Call, query: contract.Identify) -> contract.Identity:
        holder = await self._holder(query.token.get_secret_value(), None)
        return contract.Identity(
            user_id=holder.user.id,
            username=holder.user.username,
            role=holder.user.role,
            session_id=holder.session_id,
            token_id=holder.token_id,
            scopes=holder.scopes,
            expires_at=holder.expires_at,
        )

    async def grant(self, _call: Call, query: contract.GetGrant) -> contract.Grant:
        """For the person whose token it is, and nobody's word beside it."""
        if query.audience not in OWNERS:
            raise errors.UnknownAudience
        project = query.project or query.namespace
        holder = await self._holder(query.token.get_secret_value(), project)
        if project is not None and holder.place is None:
            await self._note_stranger(holder, query)
            raise errors.NoSuchProject
        return self._sign(holder, query.audience, {})

    async def reach(self, _call: Call, query: contract.GetNamespaces) -> contract.NamespaceAccessList:
        """The proof is a grant that was made for the service which asks: nobody else can have it."""
        verifier = self._proofs.get(query.service)
        if verifier is None:
            raise errors.UnknownAudience
        principal = await verifier.verify(query.proof.get_secret_value(), GrantScope.PERSON)
        async with self._database.reading() as connection:
            found = await rows.places(connection, principal.user_id, set(query.namespaces))
        return contract.NamespaceAccessList(
            items=tuple(
                contract.NamespaceAccess(
                    namespace=asked, slug=place.slug, project=place.project_id, role=place.role
                )
                for place in found
                for asked in dict.fromkeys(query.namespaces)
                if asked == place.slug or (asked == rows.HOME and place.home)
            )
        )

    async def check_revocations(
        self, _call: Call, _query: contract.CheckRevocations
    ) -> contract.RevocationsTold:
        async with self._database.reading() as connection:
            return contract.RevocationsTold(waiting=await facts.revocation_waits(connection))

    async def _holder(self, token: str, project: uuid.UUID | str | None) -> Holder:
        """Whoever the token belongs to, as the database knows them now."""
        if token.startswith(api_tokens.PREFIX):
            if not api_tokens.well_formed(token):
                raise errors.ForeignToken
            async with self._database.reading() as connection:
                holder = await rows.by_token(connection, api_tokens.hash_of(token), project)
            if holder is None:
                raise errors.TokenRevoked
            await self._note_use(holder)
            return holder
        claims = await self._access_tokens.verify(token)
        try:
            session_id, user_id = uuid.UUID(claims["sid"]), uuid.UUID(claims["sub"])
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise errors.IncompleteToken from error
        async with self._database.reading() as connection:
            holder = await rows.by_session(connection, session_id, user_id, project)
        if holder is None:
            raise errors.SessionEnded
        return holder

    async def _note_use(self, holder: Holder) -> None:
        """When a token was last used, to the minute; its answer does not depend on it."""
        now = datetime.now(UTC)
        used_at = holder.token_used_at
        if holder.token_id is None or (used_at is not None and now - used_at < _USE_NOTED_EVERY):
            return
        try:
            async with self._database.transaction() as transaction:
                await token_rows.note_use(transaction, holder.token_id)
        except Exception as error:  # noqa: BLE001 - noted at the next use
            log.warning("use of an API token not noted", reason=repr(error)[:300])

    async def _note_stranger(self, holder: Holder, query: contract.GetGrant) -> None:
        """Somebody wanted to change something in a project that is not theirs, or not there."""
        if query.purpose is None:
            return
        entry = AuditRecorded(
            action=f"auth.{query.purpose.partition('.')[2]}" if query.audience == "auth" else "auth.grant",
            at=datetime.now(UTC),
            outcome="refused",
            code="project_not_found",
            actor=holder.user.id,
            actor_name=holder.user.username,
            credential=f"session:{holder.session_id}" if holder.session_id else f"token:{holder.token_id}",
            resource=str(query.project or query.namespace),
            address=h.client.get().address,
            correlation_id=telemetry.correlation_id.get(),
        )
        try:
            async with self._database.transaction() as transaction:
                facts.record(transaction, entry)
        except Exception as error:  # noqa: BLE001 - they are refused in any case
            log.warning("a stranger's attempt was not written down", reason=repr(error)[:300])

    def _sign(self, holder: Holder, audience: str, more: dict[str, Any]) -> contract.Grant:
        about: dict[str, Any] = {
            "sub": str(holder.user.id),
            "usr": holder.user.username,
            "rol": holder.user.role,
            "ver": holder.user.version,
        }
        if holder.session_id is not None:
            about["sid"] = str(holder.session_id)
        if holder.token_id is not None:
            about["tid"] = str(holder.token_id)
        if holder.scopes is not None:
            about["scp"] = list(holder.scopes)
        place = holder.place
        if place is not None:
            about |= {"prj": str(place.project_id), "prr": place.role, "nsp": place.slug, "own": place.home}
        expires_at = datetime.now(UTC) + GRANT_LIFE
        signed = self._keys.current.sign(GRANT, audience, GRANT_LIFE, about | more)
        return contract.Grant(
            grant=signed,
            expires_at=expires_at,
            role=place.role if place else None,
            project=place.project_id if place else None,
            namespace=place.slug if place else None,
            scopes=holder.scopes,
        )

    # -- delegations -------------------------------------------------------------------------------

    async def delegate(self, call: Call, ask: contract.Delegate) -> Outcome[contract.Delegation]:
        """The proof is a grant that was made for the service which asks: nobody else can have it."""
        verifier = self._proofs.get(ask.service)
        if verifier is None:
            raise errors.UnknownAudience
        if ask.accepted_at is not None and not _IN_THE_STREAM >= _age(ask.accepted_at) >= -_CLOCKS:
            raise errors.ProofOutOfReach
        principal = await verifier.verify(
            ask.proof.get_secret_value(), GrantScope.PROJECT, at=ask.accepted_at
        )
        self._check_may_delegate(principal, ask.role_needed)
        secret = _PREFIX + secrets.token_urlsafe(32) if ask.hash is None else ""
        hashed = _hash(secret) if ask.hash is None else bytes.fromhex(ask.hash)
        delegation = rows.Delegation(
            id=uuid7(),
            service=ask.service,
            user_id=principal.user_id,
            project_id=principal.project(),
            run=ask.run,
            verbs=tuple(dict.fromkeys(ask.verbs)),
            role_needed=ask.role_needed,
            expires_at=datetime.now(UTC) + timedelta(hours=ask.hours),
            token_id=principal.token_id,
            scopes=tuple(sorted(principal.scopes)) if principal.scopes is not None else None,
        )

        async def work(transaction: Transaction) -> contract.Delegation:
            transaction.actor, transaction.actor_name = principal.user_id, principal.username
            if not await rows.add_delegation(transaction, delegation, hashed):
                raise errors.DelegationThere
            # The proof may be days old: what counts of its person is what is true now.
            await self._holding(transaction.connection, hashed)
            return contract.Delegation(id=delegation.id, delegation=secret, expires_at=delegation.expires_at)

        return await call.once(work)

    @staticmethod
    def _check_may_delegate(principal: Principal, needed: contract.ProjectRole) -> None:
        if principal.delegation_id is not None:
            raise errors.DelegationPassedOn
        if principal.project_role is None or not principal.project_role.includes(needed):
            raise errors.RoleTooLow

    async def renew(self, call: Call, ask: contract.RenewDelegation) -> contract.Renewal:
        transaction, hashed = call.transaction, _hash(ask.delegation.get_secret_value())
        holder, delegation = await self._holding(transaction.connection, hashed)
        transaction.actor, transaction.actor_name = holder.user.id, holder.user.username
        expires_at = max(delegation.expires_at, datetime.now(UTC) + timedelta(hours=ask.hours))
        if not await rows.renew_delegation(transaction, delegation.id, expires_at):
            raise errors.DelegationEnded
        return contract.Renewal(id=delegation.id, expires_at=expires_at)

    @staticmethod
    async def _holding(connection: AsyncConnection, hashed: bytes) -> tuple[Holder, rows.Delegation]:
        """Who is acted for, as long as account, API token and role last."""
        found = await rows.by_delegation(connection, hashed)
        if found is None:
            raise errors.DelegationEnded
        holder, delegation = found
        if holder.place is None or not holder.place.role.includes(delegation.role_needed):
            raise errors.DelegationEnded
        return holder, delegation

    async def end(self, call: Call, ask: contract.EndDelegation) -> Empty:
        transaction = call.transaction
        ended = await rows.end_delegation(transaction, _hash(ask.delegation.get_secret_value()))
        if ended is None:
            raise errors.DelegationEnded
        facts.revoke(transaction, contract.AccessRevoked(delegation_id=ended))
        return Empty()

    async def delegated(self, _call: Call, query: contract.DelegatedGrant) -> contract.Grant:
        """Only while the person still has the role, and only for what was delegated."""
        if query.audience not in OWNERS:
            raise errors.UnknownAudience
        async with self._database.reading() as connection:
            holder, delegation = await self._holding(connection, _hash(query.delegation.get_secret_value()))
        limits = {
            "dlg": str(delegation.id),
            "vrb": list(delegation.verbs),
            "act": delegation.service,
            "run": delegation.run,
        }
        return self._sign(holder, query.audience, limits)


def _age(moment: datetime) -> timedelta:
    return datetime.now(UTC) - moment


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
