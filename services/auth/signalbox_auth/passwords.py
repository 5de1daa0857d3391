"""Argon2id, as many at a time as the machine bears; bcrypt of imported users until they sign in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from signalbox_auth.domain.passwords import is_bcrypt
from signalbox_auth.errors import LoginsBusy
from signalbox_auth.settings import AuthSettings

_BCRYPT_READS = 72
"""Bytes of a password that bcrypt has ever looked at."""


class Passwords:
    def __init__(self, settings: AuthSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._slots = asyncio.Semaphore(settings.argon2_concurrency)
        # As many again may prepare what they hash, so that no slot waits for the database.
        self._turns = asyncio.Semaphore(2 * settings.argon2_concurrency)
        self._waiting = 0
        self._queue = settings.argon2_queue
        self._nobody: str | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """What hashing and verifying happen in; a queue that would be too long to wait in is refused at once.

        Whatever decides whether a password is looked at belongs inside: of a thousand guesses that arrive
        together, only a handful are decided about at the same time.
        """
        if self._waiting >= self._queue:
            raise LoginsBusy
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def hash(self, password: str) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Takes as long for somebody unknown (None) as for anybody else."""
        if stored is None:
            if self._nobody is None:
                self._nobody = await self.hash("nobody has this password")
            await self._check(self._nobody, password)
            return False
        return await self._check(stored, password)

    async def _check(self, stored: str, password: str) -> bool:
        if is_bcrypt(stored):
            given = password.encode()[:_BCRYPT_READS]
            try:
                async with self._slots:
                    return await asyncio.to_thread(bcrypt.checkpw, given, stored.encode())
            except ValueError:
                return False
        try:
            async with self._slots:
                return await asyncio.to_thread(self._hasher.verify, stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def outdated(self, stored: str) -> bool:
        """Whether the hash was made otherwise than today's are."""
        return is_bcrypt(stored) or self._hasher.check_needs_rehash(stored)
