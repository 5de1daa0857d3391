"""Repositories as they are fetched: with the credential that is kept for them."""

from signalbox_common.secrets import SecretStore
from signalbox_common.secrets.base import SecretNotFound
from signalbox_git.domain import Repository
from signalbox_git.mirrors.mirrors import Source
from signalbox_git.remotes.credentials import Credential
from signalbox_git.replies import secret_name


class Sources:
    def __init__(self, secrets: SecretStore) -> None:
        self._secrets = secrets

    async def of(self, found: Repository) -> Source:
        credential = None
        if found.credential is not None:
            try:
                kept = await self._secrets.get(secret_name(found.credential))
                credential = Credential.decode(kept.value)
            except SecretNotFound:  # it was taken away meanwhile
                credential = None
        return Source(found.project_id, found.id, found.url, credential, found.host_keys)
