"""Signs what is delivered, and writes each signed commit down before it goes anywhere."""

import uuid

from signalbox_common.contracts.git import DeliveryState
from signalbox_common.db import Database
from signalbox_git.command import GitDirectory
from signalbox_git.commits.moving import Seal, unsealed
from signalbox_git.commits.signing import NoSigningKey, SigningKey, signed
from signalbox_git.domain import Delivery
from signalbox_git.service.sources import Sources
from signalbox_git.store import signed_commits
from signalbox_git.work.delivery_journal import CannotDeliver, Scene


class Signatures:
    def __init__(self, database: Database, sources: Sources) -> None:
        self._database = database
        self._sources = sources

    def of(self, scene: Scene, found: Delivery) -> Seal:
        """With the key that the repository had when it was asked for, or has now where that is gone."""
        if found.wanted.get("signing_key") is None:
            return unsealed

        async def seal(git: GitDirectory, commit: str) -> str:
            content = await self._signed(scene, found, git, commit)
            made = await git.run("hash-object", "-t", "commit", "-w", "--stdin", given=content)
            return made.decode("ascii").strip()

        return seal

    async def _signed(self, scene: Scene, found: Delivery, git: GitDirectory, commit: str) -> bytes:
        """What was signed first counts, whatever the key is now: a try before may have pushed it."""
        async with self._database.reading() as connection:
            stored = await signed_commits.get(connection, found.id, commit)
        if stored is None:
            key = await self._key(scene, found)
            stored = signed(await git.run("cat-file", "commit", commit), key)
            async with scene.job.transaction() as transaction:
                await signed_commits.add(transaction, found.id, commit, stored)
            await scene.job.keep()
        return stored

    async def _key(self, scene: Scene, found: Delivery) -> SigningKey:
        for name in (uuid.UUID(found.wanted["signing_key"]), scene.repository.signing_key):
            kept = await self._sources.revealed(name) if name is not None else None
            if kept is not None and kept.private_key is not None:
                try:
                    return SigningKey.read(kept.private_key)
                except NoSigningKey:
                    continue
        raise CannotDeliver(
            DeliveryState.FAILED,
            "no_signing_key",
            "The key that its commit was to be signed with was taken away.",
            retryable=True,
        )
