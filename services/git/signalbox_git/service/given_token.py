"""The token of the operator's environment: the first administrator's personal project has it for GitHub."""

import asyncio

from pydantic import SecretStr

from signalbox_common import background, telemetry
from signalbox_common.bus import ServiceBus
from signalbox_common.contracts.auth import GetFirstAdministrator
from signalbox_common.contracts.git import Forge
from signalbox_common.db import Database
from signalbox_common.keys import uuid7
from signalbox_git.domain import HostCredential
from signalbox_git.remotes.credentials import Credential
from signalbox_git.service.host_credentials import HostCredentials
from signalbox_git.service.kept_credentials import KeptCredentials
from signalbox_git.service.sources import Sources
from signalbox_git.store import host_credentials, projects

log = telemetry.get_logger()
HOST = "github.com"
_AGAIN = 5.0
"""Seconds until it is looked again whether there is an administrator."""


class GivenToken:
    def __init__(
        self,
        database: Database,
        bus: ServiceBus,
        kept: KeptCredentials,
        hosts: HostCredentials,
        sources: Sources,
        token: SecretStr | None,
    ) -> None:
        self._database = database
        self._bus = bus
        self._kept = kept
        self._hosts = hosts
        self._sources = sources
        self._token = token
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._token is not None:
            self._task = asyncio.create_task(self._take(self._token), name="given token")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _take(self, token: SecretStr) -> None:
        """Once there is somebody to have it."""
        while True:
            try:
                if await self._has_taken(Credential(token.get_secret_value())):
                    return
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look tries again
                log.warning("the given token is not stored", reason=repr(error)[:300])
            await asyncio.sleep(_AGAIN)

    async def _has_taken(self, given: Credential) -> bool:
        """What somebody has set for that host stays; what an earlier environment gave is replaced."""
        project = (await self._bus.query(GetFirstAdministrator())).value().project
        if project is None:
            return False
        async with self._database.reading() as connection:
            known = await host_credentials.for_host(connection, project, HOST)
        if known is not None:
            by_hand = known.created_by is not None
            if by_hand or await self._sources.revealed(known.credential) == given:
                return True
        async with self._kept.held(given) as credential, self._database.transaction() as transaction:
            now, _ = await projects.moment(transaction, project)
            found = HostCredential(
                id=uuid7(),
                project_id=project,
                host=HOST,
                forge=Forge.GITHUB,
                api_url=None,
                username=None,
                credential=credential,
                created_by=None,
                created_at=now,
            )
            await self._hosts.put(transaction, found)
        return True
