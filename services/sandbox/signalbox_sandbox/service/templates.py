"""Templates: kept of what was built in a sandbox."""

from signalbox_common.bus import Call
from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.db import Database
from signalbox_common.keys import uuid7
from signalbox_common.outcomes import Deferred
from signalbox_common.storage import ProjectStorage
from signalbox_sandbox import errors
from signalbox_sandbox.domain import BASE, Wish
from signalbox_sandbox.replies import template_reply
from signalbox_sandbox.service.sandboxes import KEPT, Sandboxes
from signalbox_sandbox.store import templates

MOST_TEMPLATES = 100
"""Of one project."""


class Templates:
    def __init__(self, database: Database, storage: ProjectStorage, sandboxes: Sandboxes) -> None:
        self._database = database
        self._storage = storage
        self._sandboxes = sandboxes

    async def keep(self, call: Call, command: contract.KeepTemplate) -> Deferred:
        if command.name == BASE:
            raise errors.TemplateReserved
        sandbox = await self._sandboxes.locked(call, command.sandbox)
        if sandbox.ended:
            raise errors.SandboxEnded
        if sandbox.wish is Wish.DESTROYED:
            raise errors.Superseded
        if not sandbox.builds:
            raise errors.BuildsNothing
        if len(await templates.every(call.transaction.connection, sandbox.project_id)) >= MOST_TEMPLATES:
            raise errors.TooManyTemplates
        own = await templates.size(call.transaction.connection, sandbox.project_id)
        await self._storage.require(call.transaction.connection, sandbox.project_id, own)
        keeps = {"id": str(uuid7()), "name": command.name, "digest": command.digest, "env": command.env}
        return await self._sandboxes.wait(call, sandbox.kept_as(keeps), KEPT)

    async def every(self, call: Call, _query: contract.ListTemplates) -> contract.SandboxTemplates:
        async with self._database.reading() as connection:
            found = await templates.every(connection, call.principal.project())
        return contract.SandboxTemplates(
            items=(contract.SandboxTemplate(name=BASE), *map(template_reply, found))
        )

    async def get(self, call: Call, query: contract.GetTemplate) -> contract.SandboxTemplate:
        if query.name == BASE:
            return contract.SandboxTemplate(name=BASE)
        async with self._database.reading() as connection:
            found = await templates.called(connection, call.principal.project(), query.name)
        if found is None:
            raise errors.NoSuchTemplate
        return template_reply(found)

    async def delete(self, call: Call, command: contract.DeleteTemplate) -> Empty:
        """What it has on the disk goes when nothing is made of it any more."""
        if command.name == BASE:
            raise errors.TemplateReserved
        transaction, project = call.transaction, call.principal.project()
        if not await templates.remove(transaction, project, command.name):
            raise errors.NoSuchTemplate
        await self._storage.measure(
            transaction, project, await templates.size(transaction.connection, project)
        )
        return Empty()
