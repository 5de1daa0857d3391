"""Letters: what is written to people, and the relay that takes them."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Literal, cast
from urllib.parse import unquote, urlsplit

Scheme = Literal["smtp", "smtp+plain", "smtps"]
_PORTS = {"smtp": 587, "smtp+plain": 25, "smtps": 465}


@dataclass(frozen=True)
class Relay:
    """Where mail is handed over."""

    scheme: Scheme
    """TLS where it is offered, never, or from the start."""
    host: str
    port: int
    username: str | None
    password: str | None

    @staticmethod
    def parse(url: str) -> "Relay":
        """Says nothing of the URL where it is none: there is a password in it."""
        parts = urlsplit(url)
        try:
            scheme, port = parts.scheme, parts.port
        except ValueError:
            scheme, port = "", None
        if scheme not in _PORTS or not parts.hostname or parts.path not in ("", "/"):
            raise ValueError("SIGNALBOX_SMTP_URL is like smtp://user:password@host:587 or smtps://host")
        return Relay(
            scheme=cast(Scheme, scheme),
            host=parts.hostname,
            port=port or _PORTS[scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


@dataclass(frozen=True)
class Letter:
    to: str
    subject: str
    text: str

    def message(self, sender: str, mark: str) -> EmailMessage:
        """The same `Message-ID` for the same mark, so that readers show a repeat once."""
        message = EmailMessage()
        message["From"] = sender
        message["To"] = self.to
        message["Subject"] = self.subject
        message["Date"] = format_datetime(datetime.now(UTC))
        digest = hashlib.sha256(f"{mark} {self.to}".encode()).hexdigest()[:32]
        domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost.localdomain"
        message["Message-ID"] = f"<{digest}@{domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(self.text)
        return message


def confirmation(to: str, username: str, link: str, hours: int) -> Letter:
    return Letter(
        to,
        "Confirm your e-mail address",
        f"Somebody, probably you, has said that the Signalbox account {username} is reached at this\n"
        f"address. If that is right, confirm it within {hours} hours:\n\n{link}\n\n"
        "If it was not you, there is nothing to do.\n",
    )


def known_address(to: str, username: str) -> Letter:
    """To somebody whose address another person has registered with, or they themselves once more."""
    return Letter(
        to,
        "Somebody has given your e-mail address",
        f"Somebody has made a Signalbox account with this address, which your account {username} has\n"
        "already. Nothing of yours has changed, and they cannot read what you can.\n\n"
        "If it was you: sign in with the name of your account, or have a new password made.\n",
    )


def reset(to: str, links: list[tuple[str, str]], minutes: int) -> Letter:
    """With a link for each account of that address."""
    listed = "\n\n".join(f"{username}:\n{link}" for username, link in links)
    return Letter(
        to,
        "A new password",
        "Somebody, probably you, wants a new password. Each link is good once, within\n"
        f"{minutes} minutes, and ends all sessions of its account:\n\n{listed}\n\n"
        "If it was not you, there is nothing to do.\n",
    )


def invitation(to: str, inviter: str, project: str | None, link: str, days: int) -> Letter:
    where = f" to work on {project}" if project is not None else ""
    return Letter(
        to,
        "You are invited to Signalbox",
        f"{inviter} invites you{where}. The link is good once, within {days} days:\n\n{link}\n",
    )


def address_changed(to: str, username: str) -> Letter:
    return Letter(
        to,
        "Your e-mail address was changed",
        f"The Signalbox account {username} is not reached at this address any more: with its password,\n"
        "another one was given. If it was not you, tell an administrator.\n",
    )
