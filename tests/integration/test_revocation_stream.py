"""Following revocations on a real server: what is missed is noticed, and a long stream is read to its end."""

import asyncio
import uuid
from collections.abc import Sequence

import pytest
from nats.aio.msg import Msg

from signalbox_common.bus import revocations
from signalbox_common.bus.pull import is_message
from signalbox_common.bus.revocations import Follower
from signalbox_common.bus.stored import StoredMessage, StreamReader
from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.revoked import Revocations
from signalbox_common.testing import eventually
from tests.support.installation import Installation


async def revoke(installation: Installation, count: int = 1) -> list[uuid.UUID]:
    sessions = [uuid.uuid4() for _ in range(count)]
    async with installation.nats() as client:
        for session in sessions:
            await client.jetstream().publish(
                "rvk._.auth.access.revoked", AccessRevoked(session_id=session).encode()
            )
    return sessions


def learned(revoked: Revocations) -> set[object]:
    return {identifier for _, identifier in revoked._since}


async def test_what_was_never_sent_is_noticed_by_the_heartbeat(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_message, dropped = Follower._on_message, list[Msg]()

    async def forgetful(follower: Follower, message: Msg) -> None:
        if is_message(message) and not dropped:
            dropped.append(message)
        else:
            await on_message(follower, message)

    async with installation.bus() as bus:
        await bus.revoked.known()
        monkeypatch.setattr(Follower, "_on_message", forgetful)
        revoked = Revocations()
        follower = Follower(bus.connection, revoked)
        follower.start()
        try:
            await revoked.known()
            (session,) = await revoke(installation)

            async def known() -> bool:
                return session in learned(revoked)

            await eventually(known, what="the one that was not heard is read")
            assert dropped
        finally:
            await follower.stop()


async def test_a_long_stream_is_read_to_its_end(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes: here each page takes most of the time in which something must be heard."""
    sessions = await revoke(installation, 12)
    after = StreamReader.after

    async def slow(reader: StreamReader, subject: str, position: int, limit: int) -> Sequence[StoredMessage]:
        await asyncio.sleep(revocations.SILENCE * 0.7)  # the time itself is what is looked at
        return await after(reader, subject, position, limit)

    monkeypatch.setattr(revocations, "_PAGE", 4)
    monkeypatch.setattr(StreamReader, "after", slow)
    async with installation.bus() as bus:

        async def known() -> bool:
            return bus.revoked.trusted and learned(bus.revoked) >= set(sessions)

        await eventually(known, what="all are known")
