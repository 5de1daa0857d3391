"""A mail server that keeps what it is handed over, and can be away, slow to agree, or refuse."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage

from signalbox_common.testing import eventually

_LINK = re.compile(r"https?://\S+#(\S+)")


class Mailbox:
    """Speaks as much of SMTP (RFC 5321) as `smtplib` asks for; knows one user and password."""

    def __init__(self, *, refusing: int = 0) -> None:
        """`refusing` is how many letters it turns away before it takes one."""
        self.refusing = refusing
        self.letters: list[EmailMessage] = []
        self.signed_in: list[bytes] = []
        self.turned_away = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"smtp://signalbox:p%40ss@127.0.0.1:{self.port}"

    def to(self, address: str) -> list[EmailMessage]:
        return [letter for letter in self.letters if letter["To"] == address]

    async def next_to(self, address: str, known: int = 0) -> EmailMessage:
        """The letter that comes after those."""

        async def there() -> bool:
            return len(self.to(address)) > known

        await eventually(there, what=f"a letter to {address}")
        return self.to(address)[known]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Mailbox"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())

        say("220 here")
        while line := await reader.readline():
            word = line[:4].upper()
            if word == b"EHLO":
                say("250-here\r\n250-AUTH PLAIN\r\n250 SMTPUTF8")
            elif word == b"AUTH":
                self.signed_in.append(base64.b64decode(line.split()[2]))
                say("235 welcome")
            elif word == b"DATA":
                say("354 go on")
                body = await reader.readuntil(b"\r\n.\r\n")
                say(self._taken(body))
            elif word == b"QUIT":
                say("221 bye")
                break
            else:
                say("250 ok")
        writer.close()

    def _taken(self, body: bytes) -> str:
        if self.refusing:
            self.refusing -= 1
            self.turned_away += 1
            return "451 not now"
        self.letters.append(message_from_bytes(body[:-3], policy=policy.default))
        return "250 kept"


def links_in(letter: EmailMessage) -> list[str]:
    """What the links in it end with."""
    return _LINK.findall(text_of(letter))


def text_of(letter: EmailMessage) -> str:
    return str(letter.get_content())
