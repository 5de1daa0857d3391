"""Repositories as they are fetched: with the credential that is kept for them, or for their host."""

import uuid
from dataclasses import replace

from signalbox_common.db import Database
from signalbox_common.remote_urls import Scheme
from signalbox_common.secrets import SecretStore
from signalbox_common.secrets.base import SecretNotFound
from signalbox_git.domain import HostCredential, Repository
from signalbox_git.mirrors.mirrors import Source
from signalbox_git.remotes.credentials import Credential
from signalbox_git.replies import secret_name
from signalbox_git.service.forges import host_of, parsed
from signalbox_git.store import host_credentials, repositories


class Sources:
    def __init__(self, database: Database, secrets: SecretStore) -> None:
        self._database = database
        self._secrets = secrets

    async def of(self, found: Repository) -> Source:
        """What is kept for the host stands in for what the repository does not have: over ssh, the token."""
        credential = await self.revealed(found.credential) if found.credential is not None else None
        api_url = None
        if credential is None or credential.token is None:
            of_host = await self._of_host(found)
            stored = await self.revealed(of_host.credential) if of_host is not None else None
            if of_host is not None and stored is not None:
                api_url = of_host.api_url
                key = credential.private_key if credential is not None else None
                credential = replace(stored, private_key=key)
        return Source(found.project_id, found.id, found.url, credential, found.host_keys, api_url)

    async def _of_host(self, found: Repository) -> HostCredential | None:
        url = parsed(found.url)
        if url is None or url.scheme is Scheme.LOCAL:
            return None
        host = replace(url, scheme=Scheme.HTTPS, port=443) if url.scheme is Scheme.SSH else url
        async with self._database.reading() as connection:
            return await host_credentials.for_host(connection, found.project_id, host_of(host))

    async def revealed(self, credential: uuid.UUID) -> Credential | None:
        """None where it was taken away meanwhile."""
        try:
            return Credential.decode((await self._secrets.get(secret_name(credential))).value)
        except SecretNotFound:
            return None

    async def tokens(self, project: uuid.UUID) -> list[str]:
        """Every one that the project keeps."""
        async with self._database.reading() as connection:
            kept = {each.credential for each in await repositories.with_credentials(connection, project)}
            kept |= {each.credential for each in await host_credentials.of_project(connection, project)}
        found = [await self.revealed(each) for each in kept if each is not None]
        return [each.token for each in found if each is not None and each.token is not None]
