"""Writes letters and hands them over, until that is done."""

import asyncio
import hashlib
import smtplib
import ssl
import uuid
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address

from signalbox_auth.domain import mail
from signalbox_auth.domain.links import BY_MAIL, CONFIRMS, OneTimeLink, Purpose
from signalbox_auth.domain.mail import Letter, Relay
from signalbox_auth.domain.names import is_same_mailbox
from signalbox_auth.domain.users import User
from signalbox_auth.service.letters import KIND, Subject
from signalbox_auth.store import invitations as invitation_rows
from signalbox_auth.store import letters as letter_rows
from signalbox_auth.store import links as link_rows
from signalbox_auth.store import projects as project_rows
from signalbox_auth.store import users as user_rows
from signalbox_common.db import Transaction
from signalbox_common.work import Job, Retry, Worker

PATIENCE = 20.0
"""Seconds for each answer of the relay."""
AT_ONCE = 4
_RETRY = Retry((2.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 14_400.0))
_ACCOUNTS = 5
"""Of one address that a letter names."""


class Postman:
    def __init__(self, relay: Relay, sender: str, public_url: str) -> None:
        self._relay = relay
        self._sender = sender
        self._public_url = public_url

    def register(self, work: Worker) -> None:
        work.on(KIND, most=AT_ONCE, most_in_project=AT_ONCE, retry=_RETRY)(self.send)

    async def send(self, job: Job) -> None:
        """Once more after a crash in between, with a new link: better twice than never."""
        async with job.transaction() as transaction:
            letter = await self._letter(transaction, job)
        if letter is None:
            return
        await job.keep()
        await asyncio.to_thread(self._hand_over, letter.message(self._sender, f"{job.kind} {job.id}"))

    # -- what is written ---------------------------------------------------------------------------

    async def _letter(self, transaction: Transaction, job: Job) -> Letter | None:
        """As things are by now; None where there is nothing to say any more."""
        about = job.payload
        match Subject(about["subject"]):
            case Subject.ADDRESS:
                return await self._address(transaction, job, uuid.UUID(about["user"]))
            case Subject.FORGOTTEN:
                email = about["email"]
                found = await user_rows.said_to_be_reached_at(transaction.connection, email, _ACCOUNTS)
                there = [user for user in found if is_same_mailbox(email, user.email or "")]
                return await self._reset(transaction, job, there)
            case Subject.RESET:
                locked = await user_rows.lock(transaction, uuid.UUID(about["user"]))
                return await self._reset(transaction, job, [locked[0]] if locked is not None else [])
            case Subject.INVITATION:
                return await self._invitation(transaction, uuid.UUID(about["invitation"]))
            case Subject.LEFT:
                locked = await user_rows.lock(transaction, uuid.UUID(about["user"]))
                return mail.address_changed(about["email"], locked[0].username) if locked else None

    async def _address(self, transaction: Transaction, job: Job, user_id: uuid.UUID) -> Letter | None:
        locked = await user_rows.lock(transaction, user_id)
        if locked is None or locked[0].email is None or not locked[0].active or locked[0].email_confirmed:
            return None
        user, to = locked[0], locked[0].email
        other = await user_rows.reached_at(transaction.connection, to)
        if other is not None:
            # One that looks like theirs is somebody else's, who is not told of them.
            told = is_same_mailbox(to, other.email or "") and await _may_send(transaction, job, "known", to)
            return mail.known_address(to, other.username) if told else None
        if not await _may_send(transaction, job, "confirm", to):
            return None
        link = await self._link(transaction, Purpose.CONFIRM, CONFIRMS, user_id=user.id)
        return mail.confirmation(to, user.username, link, _hours(CONFIRMS))

    async def _reset(self, transaction: Transaction, job: Job, found: list[User]) -> Letter | None:
        users = [user for user in found if user.active and user.kind == "person" and user.email is not None]
        if not users or not await _may_send(transaction, job, "reset", str(users[0].email)):
            return None
        links = [
            (user.username, await self._link(transaction, Purpose.RESET, BY_MAIL, user_id=user.id))
            for user in users
        ]
        return mail.reset(str(users[0].email), links, int(BY_MAIL.total_seconds() // 60))

    async def _invitation(self, transaction: Transaction, invitation_id: uuid.UUID) -> Letter | None:
        invitation = await invitation_rows.get(transaction.connection, invitation_id)
        now = datetime.now(UTC)
        if invitation is None or invitation.email is None or invitation.status(now) != "open":
            return None
        inviter = await user_rows.get(transaction.connection, invitation.invited_by)
        if inviter is None:
            return None
        project = None
        if invitation.project_id is not None:
            found = await project_rows.get(transaction.connection, invitation.project_id, inviter.id)
            if found is None:
                return None
            project = found.name
        life = invitation.expires_at - now
        link = await self._link(transaction, Purpose.INVITATION, life, invitation_id=invitation.id)
        days = max(1, round(life / timedelta(days=1)))
        return mail.invitation(invitation.email, inviter.username, project, link, days)

    async def _link(
        self,
        transaction: Transaction,
        purpose: Purpose,
        life: timedelta,
        *,
        user_id: uuid.UUID | None = None,
        invitation_id: uuid.UUID | None = None,
    ) -> str:
        link = OneTimeLink.new(purpose)
        expires_at = datetime.now(UTC) + life
        await link_rows.add(
            transaction, link, expires_at, user_id=user_id, invitation_id=invitation_id, mailed=True
        )
        return link.at(self._public_url)

    # -- how it leaves -----------------------------------------------------------------------------

    def _hand_over(self, message: EmailMessage) -> None:
        """In a thread of its own, which waits."""
        relay, context = self._relay, ssl.create_default_context()
        if relay.scheme == "smtps":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                relay.host, relay.port, timeout=PATIENCE, context=context
            )
        else:
            connection = smtplib.SMTP(relay.host, relay.port, timeout=PATIENCE)
        with connection:
            connection.ehlo()
            if relay.scheme == "smtp" and connection.has_extn("starttls"):
                connection.starttls(context=context)
                connection.ehlo()
            if relay.username is not None:
                if not (_encrypted(connection) or relay.scheme == "smtp+plain" or _is_here(relay.host)):
                    raise smtplib.SMTPNotSupportedError("the password would be sent in clear")
                connection.login(relay.username, relay.password or "")
            connection.send_message(message)


async def _may_send(transaction: Transaction, job: Job, what: str, to: str) -> bool:
    key = hashlib.sha256(f"{what}\x00{to.casefold()}".encode()).digest()
    return await letter_rows.may_send(transaction, key, job.id)


def _hours(life: timedelta) -> int:
    return int(life.total_seconds() // 3600)


def _encrypted(connection: smtplib.SMTP) -> bool:
    return isinstance(connection.sock, ssl.SSLSocket)


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
