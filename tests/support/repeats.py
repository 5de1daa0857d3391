"""Requests as they were sent, and sent again: at once, or long after."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from nats.aio.msg import Msg

from signalbox_common.bus import Bus
from signalbox_common.bus import headers as h
from signalbox_common.cloudevents import MESSAGE_ID
from signalbox_common.testing import eventually
from tests.support.forgery import Signer, assembled

DAY = 24 * 3600
_GOOD_FOR = 60
OF_A_TASK = ("cmd.tasks.", "cmd.git.", "cmd.sandbox.", "ask.sandbox.v1.create", "ask.auth.v1.delegate")


@dataclass(frozen=True)
class Sent:
    subject: str
    body: bytes
    headers: dict[str, str]

    @property
    def name(self) -> str:
        """Such as `git.deliver`."""
        _, service, _, verb = self.subject.split(".")
        return f"{service}.{verb}"

    @property
    def is_command(self) -> bool:
        return self.subject.startswith("cmd.")

    @property
    def claims(self) -> dict[str, Any]:
        """Of its grant."""
        payload = self.headers[h.GRANT].split(".")[1]
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return found

    def granted(self, signer: Signer, *, ago: int = 0, delegation: uuid.UUID | None = None) -> "Sent":
        """With the grant that it had, as it would have been given so many seconds ago.

        One under a delegation is under that one, if there is one.
        """
        claims, given = self.claims, int(time.time()) - ago
        claims |= {"iat": given, "exp": given + _GOOD_FOR}
        if delegation is not None and "dlg" in claims:
            claims["dlg"] = str(delegation)
        grant = assembled({"typ": "grant+jwt", "kid": signer.kid}, claims, signer.private)
        return replace(self, headers=self.headers | {h.GRANT: grant})


@dataclass
class Recorder:
    """Of what the services of this process send for tasks; each is sent so many times at once."""

    times: int = 1
    sent: list[Sent] = field(default_factory=list)

    @contextmanager
    def listening(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        store, request = Bus._store_command, Bus._request

        async def stored(bus: Bus, subject: str, body: bytes, headers: dict[str, str]) -> None:
            async def one(number: int) -> None:
                own = headers if number == 0 else headers | {MESSAGE_ID: uuid.uuid4().hex}
                await store(bus, subject, body, own)

            await asyncio.gather(*map(one, range(self._noted(subject, body, headers))))

        async def requested(
            bus: Bus, asked: Any, subject: str, headers: dict[str, str], patience: float
        ) -> Any:
            times = self._noted(subject, asked.encode(), headers)
            tries = (request(bus, asked, subject, headers, patience) for _ in range(times))
            found = await asyncio.gather(*tries, return_exceptions=True)
            if isinstance(found[0], BaseException):
                raise found[0]
            return found[0]

        with monkeypatch.context() as patching:
            patching.setattr(Bus, "_store_command", stored)
            patching.setattr(Bus, "_request", requested)
            yield

    def _noted(self, subject: str, body: bytes, headers: dict[str, str]) -> int:
        if not subject.startswith(OF_A_TASK):
            return 1
        self.sent.append(Sent(subject, body, dict(headers)))
        return self.times


async def answer_to(bus: Bus, sent: Sent) -> tuple[bool, Any]:
    """Whether it was done, and what was said; sent as it was then."""
    headers = {name: value for name, value in sent.headers.items() if name != h.REPLY_TO}
    if not sent.is_command:
        return _read(
            await bus.connection.client.request(sent.subject, sent.body, timeout=10, headers=headers)
        )
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    token = uuid.uuid4().hex
    reply_to = f"reply.{bus.settings.instance}.{token}"

    async def hear(message: Msg) -> None:
        await heard.put(message)

    both = [await bus.connection.client.subscribe(f"{way}{reply_to}", cb=hear) for way in ("", "*.")]
    try:
        headers |= {h.REPLY_TO: reply_to, MESSAGE_ID: uuid.uuid4().hex}
        await bus.connection.jetstream.publish(sent.subject, sent.body, headers=headers)

        async def answered() -> bool:
            return not heard.empty()

        await eventually(answered, what=f"{sent.name} is answered")
        return _read(heard.get_nowait())
    finally:
        for each in both:
            await each.unsubscribe()


def _read(message: Msg) -> tuple[bool, Any]:
    return (message.headers or {}).get(h.STATUS) == h.OK, json.loads(message.data)
