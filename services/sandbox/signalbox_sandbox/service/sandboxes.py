"""Sandboxes: made, looked at, and asked to be something else."""

import hmac
import random
import uuid
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection

from signalbox_common.bus import Call
from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.auth import QuotaName, Quotas
from signalbox_common.contracts.base import Failure
from signalbox_common.contracts.sandbox import SandboxStatus
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import AlreadyDone, QuotaExceeded, SignalboxError
from signalbox_common.keys import derive, uuid7
from signalbox_common.outcomes import Deferred, Outcome
from signalbox_common.paging import cut, id_cursor, read_id_cursor
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.secrets import SecretStore
from signalbox_common.space import DiskSpace
from signalbox_common.work import Worker
from signalbox_sandbox import errors
from signalbox_sandbox.domain import BASE, Sandbox, Wish
from signalbox_sandbox.replies import (
    encoded,
    known_network,
    reply_of,
    secret_name,
    tell,
)
from signalbox_sandbox.service.news import News
from signalbox_sandbox.store import nodes, projects, runs, sandboxes, templates, waiting

KIND = "sandbox"
"""The work on one sandbox; its key is the id."""
DEADLINE, NETWORK, KEPT = "deadline", "network", "kept"
"""What a command waits for that asks for another one, or for a template."""
NETWORKS = ("none", "allow", "public")
"""Each gives more than the one before."""
WAIT = 4.0
"""Seconds in which a sandbox that was asked for usually runs."""


class Sandboxes:
    def __init__(
        self,
        database: Database,
        worker: Worker,
        secrets: SecretStore,
        space: DiskSpace,
        quotas: ProjectQuotas,
        *,
        node: str,
        url: str,
        secret_key: str,
        network: str,
    ) -> None:
        """`network` is the most that may be asked for."""
        self._node = node
        self._network = network
        self._url = url
        self._database = database
        self._worker = worker
        self._secrets = secrets
        self._space = space
        self._quotas = quotas
        self._key = derive(secret_key, "sandbox/environments")
        self.news = News()

    # -- made ------------------------------------------------------------------------------------------

    async def create(self, call: Call, ask: contract.CreateSandbox) -> Outcome[contract.Sandbox]:
        """Its environment is stored before the transaction that refers to it."""
        project = call.principal.project()
        if ask.owned_by is not None and call.principal.act != "tasks":
            raise errors.OwnerReserved
        if ask.builds and ask.template != BASE:
            raise errors.BuildsOnBase
        self._check_network(ask.network)
        identifier = uuid7()
        env = encoded({name: value.get_secret_value() for name, value in ask.env.items()})
        call = call.about(hmac.digest(self._key, env, "sha256").hex()[:32])
        if ask.env and await call.replayed() is None:
            if ask.owned_by is None:  # else it may be there already
                async with self._database.reading() as connection:
                    await _check_room(connection, await self._quotas.of(connection, project))
            await self._secrets.put(secret_name(identifier), env)

        async def work(transaction: Transaction) -> contract.Sandbox:
            return reply_of(await self._add(call, transaction, ask, identifier))

        try:
            outcome = await call.once(work)
        except QuotaExceeded:
            await self._secrets.delete(secret_name(identifier))
            raise
        made = _resource_of(outcome)
        if ask.env and made != identifier:
            await self._secrets.delete(secret_name(identifier))
        if made is None:
            return outcome
        found = await self.news.until(made, partial(self._get, project, made), WAIT)
        return Outcome.of(reply_of(found)) if found is not None else outcome

    async def _add(
        self, call: Call, transaction: Transaction, ask: contract.CreateSandbox, identifier: uuid.UUID
    ) -> Sandbox:
        project = call.principal.project()
        now, is_deleted = await projects.moment(transaction, project)
        if is_deleted:
            raise errors.ProjectGone
        self._space.require()
        layer = None
        if ask.template != BASE:
            template = await templates.called(transaction.connection, project, ask.template)
            if template is None:
                raise errors.UnknownTemplate
            layer = template.id
        if ask.owned_by is not None:
            run = await runs.lock(transaction, project, ask.owned_by.run)
            if run.stopping or run.ended:
                raise errors.RunEnded
            found = await sandboxes.owned(
                transaction.connection, project, ask.owned_by.run, ask.owned_by.name
            )
            if found is not None:
                return found
        await self._check_room(transaction, project)
        # Here, where there is room: then nobody else needs to look for it.
        here = await nodes.has_room(transaction, self._node)
        sandbox = Sandbox(
            id=identifier,
            project_id=project,
            created_by=call.principal.user_id,
            operation=transaction.operation,
            owner_run=ask.owned_by.run if ask.owned_by is not None else None,
            owner_name=ask.owned_by.name if ask.owned_by is not None else None,
            template=ask.template,
            layer=layer,
            builds=ask.builds,
            workspace=ask.workspace.model_dump(mode="json") if ask.workspace is not None else None,
            limits=ask.limits.model_dump(mode="json", by_alias=True, exclude_none=True),
            lifetime=ask.lifetime,
            at_end=ask.at_end,
            network=known_network(ask.network),
            doors=tuple(door.model_dump(mode="json") for door in ask.doors),
            labels=dict(ask.labels),
            keep_for=ask.keep_for,
            has_env=bool(ask.env),
            node=self._node if here else None,
            epoch=1 if here else 0,
            created_at=now,
            since=now,
        )
        if not await sandboxes.add(transaction, sandbox):
            return await self._owned(transaction, sandbox)
        tell(transaction, sandbox)
        target = self._node if here else None
        await self._worker.put(transaction, KIND, str(identifier), project=project, target=target)
        return sandbox

    async def _check_room(self, transaction: Transaction, project: uuid.UUID) -> None:
        """Those that live are counted, one creation at a time: what has ended gives nothing back."""
        known = await self._quotas.of(transaction.connection, project)
        if known.limits.live_sandboxes is not None:
            await _check_room(transaction.connection, known)  # a crowd does not queue for what is used up
            locked = await self._quotas.lock(transaction, project)
            await _check_room(transaction.connection, locked)

    @staticmethod
    async def _owned(transaction: Transaction, wanted: Sandbox) -> Sandbox:
        run, name = wanted.owner_run, wanted.owner_name
        if run is None or name is None:
            raise SignalboxError("an id of a sandbox was given twice")
        found = await sandboxes.owned(transaction.connection, wanted.project_id, run, name)
        if found is None:
            raise errors.SandboxNotFound
        return found

    async def _get(self, project: uuid.UUID, sandbox: uuid.UUID) -> Sandbox | None:
        async with self._database.reading() as connection:
            return await sandboxes.get(connection, project, sandbox)

    # -- looked at -------------------------------------------------------------------------------------

    async def get(self, call: Call, query: contract.GetSandbox) -> contract.Sandbox:
        project = call.principal.project()
        async with self._database.reading() as connection:
            if query.sandbox is not None:
                found = await sandboxes.get(connection, project, query.sandbox)
            elif query.owned_by is not None:
                found = await sandboxes.owned(connection, project, query.owned_by.run, query.owned_by.name)
            else:
                found = None
        if found is None:
            raise errors.SandboxNotFound
        return reply_of(found)

    async def page(self, call: Call, query: contract.ListSandboxes) -> contract.SandboxPage:
        async with self._database.reading() as connection:
            found = await sandboxes.page(
                connection,
                call.principal.project(),
                limit=query.limit + 1,
                before=read_id_cursor(query.cursor),
                status=query.status,
            )
        items, cursor = cut([reply_of(each) for each in found], query.limit, lambda each: id_cursor(each.id))
        return contract.SandboxPage(items=items, next_cursor=cursor)

    async def place(self, _call: Call, query: contract.FindSandbox) -> contract.SandboxPlace:
        async with self._database.reading() as connection:
            found = await sandboxes.find(connection, query.sandbox)
        if found is None:
            raise errors.SandboxNotFound
        return contract.SandboxPlace(project=found.project_id)

    async def locate(self, call: Call, query: contract.LocateSandbox) -> contract.SandboxLocation:
        found = await self._get(call.principal.project(), query.sandbox)
        if found is None:
            raise errors.SandboxNotFound
        check_reachable(found)
        if found.node is None:
            raise errors.NodeAway
        if found.node == self._node:  # we are there, and alive
            return contract.SandboxLocation(node=found.node, url=self._url, state=found.status)
        async with self._database.reading() as connection:
            instances = [each for each in await nodes.instances(connection) if each.node == found.node]
        if not instances:
            raise errors.NodeAway
        chosen = random.choice(instances)  # noqa: S311 - spreads, hides nothing
        return contract.SandboxLocation(node=found.node, url=chosen.url, state=found.status)

    # -- changed ---------------------------------------------------------------------------------------

    async def pause(self, call: Call, command: contract.PauseSandbox) -> contract.Sandbox | Deferred:
        return await self._ask(call, command.sandbox, Wish.PAUSED)

    async def resume(self, call: Call, command: contract.ResumeSandbox) -> contract.Sandbox | Deferred:
        return await self._ask(call, command.sandbox, Wish.RUNNING)

    async def destroy(self, call: Call, command: contract.DestroySandbox) -> contract.Sandbox | Deferred:
        return await self._ask(call, command.sandbox, Wish.DESTROYED)

    async def set_deadline(
        self, call: Call, command: contract.SetSandboxDeadline
    ) -> contract.Sandbox | Deferred:
        sandbox = await self.locked(call, command.sandbox)
        if sandbox.ended:
            raise errors.SandboxEnded
        return await self.wait(call, sandbox.given(command.lifetime), DEADLINE)

    async def set_network(
        self, call: Call, command: contract.SetSandboxNetwork
    ) -> contract.Sandbox | Deferred:
        self._check_network(command.network)
        sandbox = await self.locked(call, command.sandbox)
        if sandbox.ended:
            raise errors.SandboxEnded
        return await self.wait(call, sandbox.reaching(known_network(command.network)), NETWORK)

    def _check_network(self, asked: contract.Network) -> None:
        """The operator has said what may be asked for."""
        needed = "allow" if isinstance(asked, contract.AllowedHosts) else asked
        if NETWORKS.index(needed) > NETWORKS.index(self._network):
            raise errors.NetworkNotAllowed

    async def _ask(self, call: Call, identifier: uuid.UUID, wish: Wish) -> contract.Sandbox | Deferred:
        sandbox = await self.locked(call, identifier)
        if sandbox.ended and wish is Wish.DESTROYED:
            return reply_of(sandbox)
        if sandbox.ended:
            raise errors.SandboxEnded
        if sandbox.wish is Wish.DESTROYED and wish is not Wish.DESTROYED:
            raise errors.Superseded
        return await self.wait(call, sandbox.asked(wish), wish)

    async def locked(self, call: Call, identifier: uuid.UUID) -> Sandbox:
        seen = await sandboxes.get(call.transaction.connection, call.principal.project(), identifier)
        sandbox = await self.lock(call.transaction, seen) if seen is not None else None
        if sandbox is None:
            raise errors.SandboxNotFound
        return sandbox

    @staticmethod
    async def wait(call: Call, sandbox: Sandbox, wish: str) -> Deferred:
        await sandboxes.save(call.transaction, sandbox)
        await waiting.add(call.transaction, call.command_id, sandbox, wish)
        return Deferred(resource=str(sandbox.id))

    async def lock(self, transaction: Transaction, seen: Sandbox) -> Sandbox | None:
        """To ask something of it: first its work is made due, as workers lock both in this order, too.

        Where somebody is at it already, they see what was asked when they have done.
        """
        await self._worker.put(
            transaction, KIND, str(seen.id), project=seen.project_id, target=seen.node, soonest=True
        )
        return await sandboxes.lock(transaction, seen.id)


async def _check_room(connection: AsyncConnection, quotas: Quotas) -> None:
    most = quotas.limits.live_sandboxes
    if most is not None and (used := await sandboxes.count_living(connection, quotas.project_id)) >= most:
        raise QuotaExceeded(QuotaName.LIVE_SANDBOXES, limit=most, used=used)


def check_reachable(sandbox: Sandbox) -> None:
    """Raises where there is nobody in it to talk to."""
    if sandbox.ended:
        raise errors.SandboxEnded
    if sandbox.status is SandboxStatus.PAUSED:
        raise errors.SandboxPaused
    if sandbox.status is SandboxStatus.CREATING:
        raise errors.NotRunningYet


def _resource_of(outcome: Outcome[contract.Sandbox]) -> uuid.UUID | None:
    """The sandbox that it is about; a repeat finds the one that was made before."""
    if not outcome.failed:
        return contract.Sandbox.model_validate_json(outcome.body).id
    failure = Failure.model_validate_json(outcome.body)
    if failure.code == AlreadyDone.code and failure.resource is not None:
        return uuid.UUID(failure.resource)
    return None
