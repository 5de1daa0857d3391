"""What is to be written to people: committed with what caused it, and sent by a worker.

A row of work holds no secrets. It says what the letter is about; its link is made when it is written.
"""

import hashlib
import uuid
from enum import StrEnum

from signalbox_auth.domain.names import folded
from signalbox_auth.errors import NoMail
from signalbox_common.db import Transaction
from signalbox_common.work import Worker

KIND = "letter"


class Subject(StrEnum):
    ADDRESS = "address"
    """A user has said that they are reached at theirs."""
    FORGOTTEN = "forgotten"
    """Somebody has asked for a new password of whoever is reached at an address."""
    RESET = "reset"
    """An administrator wants a user to choose a new password."""
    INVITATION = "invitation"
    LEFT = "left"
    """A user is not reached at an address any more."""


class Letters:
    def __init__(self, work: Worker, *, sends: bool) -> None:
        self._work = work
        self._sends = sends

    def check(self) -> None:
        """For what nobody can do without mail."""
        if not self._sends:
            raise NoMail

    async def about_address(self, transaction: Transaction, user_id: uuid.UUID) -> None:
        await self._put(transaction, Subject.ADDRESS, str(user_id), user=str(user_id))

    async def about_forgotten(self, transaction: Transaction, email: str) -> None:
        digest = hashlib.sha256(folded(email).encode()).hexdigest()
        await self._put(transaction, Subject.FORGOTTEN, digest, email=email)

    async def about_reset(self, transaction: Transaction, user_id: uuid.UUID) -> None:
        await self._put(transaction, Subject.RESET, str(user_id), user=str(user_id))

    async def about_invitation(self, transaction: Transaction, invitation_id: uuid.UUID) -> None:
        await self._put(transaction, Subject.INVITATION, str(invitation_id), invitation=str(invitation_id))

    async def about_left(self, transaction: Transaction, user_id: uuid.UUID, email: str) -> None:
        digest = hashlib.sha256(folded(email).encode()).hexdigest()
        await self._put(transaction, Subject.LEFT, f"{user_id}.{digest}", user=str(user_id), email=email)

    async def _put(self, transaction: Transaction, subject: Subject, key: str, **about: str) -> None:
        """Nothing where no mail is sent."""
        if self._sends:
            payload = {"subject": subject.value, **about}
            await self._work.put(transaction, KIND, f"{subject}.{key}", payload=payload)
