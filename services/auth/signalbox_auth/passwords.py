"""Argon2id, as many at a time as the machine bears; bcrypt of imported users until they sign in."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from signalbox_auth.domain.passwords import is_bcrypt
from signalbox_auth.errors import LoginsBusy, RegistrationsBusy
from signalbox_auth.settings import AuthSettings
from signalbox_common.errors import Unavailable

_GIVES_WAY = 10
_BCRYPT_READS = 72
"""Bytes of a password that bcrypt has ever looked at."""


def _give_way() -> None:
    """On Linux a thread has a priority of its own."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _GIVES_WAY)


class _Queue:
    """Lets in as many at a time; refuses whoever would wait behind too many."""

    def __init__(self, at_once: int, most: int, busy: type[Unavailable]) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._most = most
        self._busy = busy
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        if self._waiting >= self._most:
            raise self._busy
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()


class Passwords:
    def __init__(self, settings: AuthSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.argon2_time,
            memory_cost=settings.argon2_memory_kib,
            parallelism=settings.argon2_parallelism,
        )
        self._slots = asyncio.Semaphore(settings.argon2_concurrency)
        # As many again may prepare what they hash, so that no slot waits for the database.
        self._logins = _Queue(2 * settings.argon2_concurrency, settings.argon2_queue, LoginsBusy)
        # One at a time: however many register, a login waits for one of them at most.
        self._newcomers = _Queue(1, settings.argon2_register_queue, RegistrationsBusy)
        self._patient = ThreadPoolExecutor(1, initializer=_give_way)
        self._nobody: str | None = None

    def turn(self) -> AbstractAsyncContextManager[None]:
        """What hashing and verifying happen in; a queue that would be too long to wait in is refused at once.

        Whatever decides whether a password is looked at belongs inside: of a thousand guesses that arrive
        together, only a handful are decided about at the same time.
        """
        return self._logins.turn()

    def turn_of_newcomer(self) -> AbstractAsyncContextManager[None]:
        """The same for strangers, of whom nobody knows how many there are."""
        return self._newcomers.turn()

    async def hash(self, password: str) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def hash_of_newcomer(self, password: str) -> str:
        """The same, after whatever else there is to do on the machine."""
        async with self._slots:
            running = asyncio.get_running_loop().run_in_executor(self._patient, self._hasher.hash, password)
            return await running

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
