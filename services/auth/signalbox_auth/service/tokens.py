"""API tokens: of people, and of the service accounts of a project."""

import uuid
from datetime import UTC, datetime

from signalbox_auth import errors
from signalbox_auth.domain.projects import check_may_set
from signalbox_auth.domain.tokens import ApiToken, checked_scopes, hash_of, new_token
from signalbox_auth.store import members as member_rows
from signalbox_auth.store import projects as project_rows
from signalbox_auth.store import tokens as rows
from signalbox_auth.store import users as user_rows
from signalbox_common.bus import Call
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.auth import QuotaName
from signalbox_common.contracts.base import Empty
from signalbox_common.db import Database
from signalbox_common.errors import QuotaExceeded
from signalbox_common.keys import uuid7
from signalbox_common.quotas import ProjectQuotas

_HINT = 4


class Tokens:
    def __init__(self, database: Database, quotas: ProjectQuotas) -> None:
        self._database = database
        self._quotas = quotas

    # -- of people ---------------------------------------------------------------------------------

    async def create(self, call: Call, ask: contract.CreateToken) -> contract.CreatedApiToken:
        """As many as the service accounts of a project may have for which nothing was said."""
        user = call.principal.user_id
        await user_rows.hold(call.transaction, user)
        used = await rows.count(call.transaction.connection, user)
        limit = self._quotas.defaults.api_tokens
        if limit is not None and used >= limit:
            raise QuotaExceeded(QuotaName.API_TOKENS, limit=limit, used=used, whose="You have")
        return await _add(call, user, ask)

    async def page(self, call: Call, _query: contract.ListTokens) -> contract.ApiTokenPage:
        return await self._page(call.principal.user_id)

    async def revoke(self, call: Call, command: contract.RevokeToken) -> Empty:
        if not await rows.revoke(call.transaction, call.principal.user_id, only=command.token_id):
            raise errors.TokenNotFound
        return Empty()

    # -- of service accounts -----------------------------------------------------------------------

    async def create_for_account(
        self, call: Call, ask: contract.CreateServiceAccountToken
    ) -> contract.CreatedApiToken:
        await self._check_account(call, ask.account_id)
        connection, project = call.transaction.connection, call.principal.project()
        limit = (await self._quotas.of(connection, project)).limits.api_tokens
        used = await rows.count_of_accounts(connection, project)
        if limit is not None and used >= limit:
            raise QuotaExceeded(QuotaName.API_TOKENS, limit=limit, used=used)
        return await _add(call, ask.account_id, ask)

    async def page_of_account(
        self, call: Call, query: contract.ListServiceAccountTokens
    ) -> contract.ApiTokenPage:
        async with self._database.reading() as connection:
            member = await member_rows.account(connection, call.principal.project(), query.account_id)
        if member is None:
            raise errors.AccountNotFound
        return await self._page(query.account_id)

    async def revoke_of_account(self, call: Call, command: contract.RevokeServiceAccountToken) -> Empty:
        await self._check_account(call, command.account_id)
        if not await rows.revoke(call.transaction, command.account_id, only=command.token_id):
            raise errors.TokenNotFound
        return Empty()

    @staticmethod
    async def _check_account(call: Call, account_id: uuid.UUID) -> None:
        """One of the asker's own project, with a role that the asker could give."""
        transaction = call.transaction
        project = await project_rows.lock(transaction, call.principal.project(), call.principal.user_id)
        if project is None:
            raise errors.NoSuchProject
        account = await member_rows.account(transaction.connection, project.id, account_id)
        if account is None:
            raise errors.AccountNotFound
        check_may_set(project.role, account.role)

    async def _page(self, user_id: uuid.UUID) -> contract.ApiTokenPage:
        async with self._database.reading() as connection:
            found = await rows.of_user(connection, user_id)
        items = tuple(contract.ApiToken(**_shown(token)) for token in found)
        return contract.ApiTokenPage(items=items)


async def _add(
    call: Call,
    user_id: uuid.UUID,
    ask: contract.CreateToken | contract.CreateServiceAccountToken,
) -> contract.CreatedApiToken:
    now = datetime.now(UTC)
    if ask.expires_at is not None and ask.expires_at <= now:
        raise errors.BadExpiry
    secret = new_token()
    token = ApiToken(
        id=uuid7(),
        user_id=user_id,
        name=ask.name,
        scopes=checked_scopes(ask.scopes),
        expires_at=ask.expires_at,
        created_at=now,
        last_used_at=None,
        hint=secret[-_HINT:],
    )
    await rows.add(call.transaction, token, hash_of(secret), call.principal.user_id)
    return contract.CreatedApiToken(**_shown(token), token=secret)


def _shown(token: ApiToken) -> dict[str, object]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": token.scopes,
        "expires_at": token.expires_at,
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
        "hint": token.hint,
    }
