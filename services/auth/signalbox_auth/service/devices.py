"""Signing in on a device that shows a code (RFC 8628)."""

import uuid
from datetime import UTC, datetime, timedelta

from signalbox_auth import errors
from signalbox_auth.domain import devices as rules
from signalbox_auth.service.sessions import Sessions
from signalbox_auth.store import devices as rows
from signalbox_auth.store import users as user_rows
from signalbox_common.bus import Call
from signalbox_common.bus.headers import Client
from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Empty
from signalbox_common.db import Database, Transaction
from signalbox_common.errors import SignalboxError
from signalbox_common.outcomes import Outcome

_TRIES = 5
_SLOWER_BY = timedelta(seconds=5)


class Devices:
    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions

    async def start(self, call: Call, ask: contract.StartDevice) -> contract.DeviceCodes:
        for _ in range(_TRIES):
            device_code, user_code = rules.new_codes()
            now = datetime.now(UTC)
            device = rules.Device(
                device_hash=rules.hash_of(device_code),
                user_code=user_code,
                client_name=ask.client_name,
                address=call.client.address,
                agent=call.client.agent,
                requested_at=now,
                expires_at=now + rules.LIFE,
                interval=rules.INTERVAL,
            )
            if await rows.add(call.transaction, device):
                break
        else:
            raise RuntimeError("every code that was drawn is taken")
        return contract.DeviceCodes(
            device_code=device_code,
            user_code=user_code,
            expires_in=int(rules.LIFE.total_seconds()),
            interval=int(rules.INTERVAL.total_seconds()),
        )

    async def info(self, _call: Call, query: contract.GetDevice) -> contract.DeviceInfo:
        async with self._database.reading() as connection:
            device = await rows.waiting(connection, rules.normalized(query.user_code))
        if device is None:
            raise errors.DeviceNotFound
        return contract.DeviceInfo(
            user_code=device.user_code,
            client_name=device.client_name,
            address=device.address,
            requested_at=device.requested_at,
        )

    async def decide(self, call: Call, ask: contract.DecideDevice) -> Empty:
        code = rules.normalized(ask.user_code)
        user_id = call.principal.user_id
        if not await rows.decide(call.transaction, code, user_id, approved=ask.approve):
            raise errors.DeviceNotFound
        return Empty()

    async def poll(self, call: Call, ask: contract.PollDevice) -> Outcome[contract.TokenPair]:
        """The session is the device's, not the browser's: it is made here, once."""
        hashed = rules.hash_of(ask.device_code.get_secret_value())
        user_id = await self._approver(hashed)

        async def work(transaction: Transaction) -> contract.TokenPair:
            # The user first, as those do who end all of a user's sessions and devices.
            locked = await user_rows.lock(transaction, user_id)
            if locked is None or not locked[0].active:
                raise errors.DeviceDenied
            device = await rows.lock(transaction, hashed)
            if device is None:
                raise errors.DeviceExpired  # another poll was faster, or all sessions were ended
            await rows.remove(transaction, device)
            client = Client(device.address, device.client_name)
            return await self._sessions.begin(transaction, locked[0], client)

        return await call.once(work)

    async def _approver(self, hashed: bytes) -> uuid.UUID:
        """Notes the poll, in a transaction of its own: what is refused is noted too."""
        refused: SignalboxError | None = None
        async with self._database.transaction() as transaction:
            device = await rows.lock(transaction, hashed)
            if device is None:
                raise errors.DeviceExpired
            try:
                rules.check_poll(device, datetime.now(UTC))
            except SignalboxError as error:
                refused = error
            slower = _SLOWER_BY if isinstance(refused, errors.DeviceTooFast) else timedelta(0)
            await rows.note_poll(transaction, device, slower_by=slower)
        if refused is not None:
            raise refused
        if device.user_id is None:
            raise errors.DevicePending
        return device.user_id
