"""Signing keys: made before they are needed, published before they sign, kept while they are needed."""

import asyncio
import base64
import secrets
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signalbox_auth.domain.keys import Key
from signalbox_auth.store import facts
from signalbox_auth.store import keys as rows
from signalbox_common import background, telemetry
from signalbox_common.bus import Call
from signalbox_common.bus.buckets import SignedBucket
from signalbox_common.contracts import auth as contract
from signalbox_common.db import Database, Transaction
from signalbox_common.entries import RootKey
from signalbox_common.keys import Sealer
from signalbox_common.outcomes import Outcome
from signalbox_common.secrets import SecretStore
from signalbox_common.tokens import PublishedKey, SigningKey

log = telemetry.get_logger()

LOOK_EVERY = 5.0
"""Seconds until a process notices that another one has rotated; the old key is good for much longer."""
MEND_EVERY = 30.0
"""Seconds until auth notices what others did to its bucket; programs keep a key that they know."""
_PREFIX = "signing-keys/"


class Keys:
    """The private halves lie in the secret store, the public ones in the table and in the key bucket."""

    def __init__(
        self, database: Database, store: SecretStore, bucket: SignedBucket, root: RootKey, legacy: Sealer
    ) -> None:
        self._database = database
        self._store = store
        self._bucket = bucket
        self._root = root
        self._legacy = legacy
        self._current: SigningKey | None = None
        self._put_back = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def current(self) -> SigningKey:
        if self._current is None:
            raise RuntimeError("load comes first")
        return self._current

    async def load(self) -> None:
        """Makes what is missing, and publishes the public half of each."""
        await self._move_from_table()
        async with self._database.transaction() as transaction:
            await rows.lock(transaction)
            known = await rows.all_of(transaction.connection)
            if not any(key.state == "current" for key in known):
                await self._make(transaction, "current")
            if not any(key.state == "next" for key in known):
                await self._make(transaction, "next")
            known = await rows.all_of(transaction.connection)
        await self.publish_all(known)
        await self._take_current(known)

    async def publish_all(self, known: list[Key] | None = None) -> None:
        """Once more after each reconnect: a broker that lost its data must not make tokens unknown."""
        if known is None:
            async with self._database.reading() as connection:
                known = await rows.all_of(connection)
        for key in known:
            await self._publish(key)

    async def _publish(self, key: Key) -> None:
        await self._bucket.put(self._root, key.kid, _published(key).entry)

    def degraded(self) -> str | None:
        """Until the next start: somebody who should not has been in the bucket."""
        return f"{self._put_back} keys were missing in their bucket, and put back" if self._put_back else None

    async def mend(self, known: list[Key]) -> None:
        """Says again what lies there no more, whoever took it away or put something else upon it."""
        await self._bucket.look_at_all()
        for key in known:
            entry = (await self._bucket.newest(key.kid)).entry
            if entry is None or entry.number < _published(key).entry.number:
                log.error("a signing key was not in its bucket", kid=key.kid)
                await self._publish(key)
                self._put_back += 1

    def follow(self) -> None:
        """Notices what other processes of this service rotate."""
        self._task = asyncio.create_task(self._follow(), name="signing keys")

    async def stop(self) -> None:
        await background.end(self._task)

    async def _follow(self) -> None:
        mended = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                async with self._database.reading() as connection:
                    known = await rows.all_of(connection)
                await self._take_current(known)
                if asyncio.get_running_loop().time() - mended >= MEND_EVERY:
                    await self.mend(known)
                    mended = asyncio.get_running_loop().time()
            except Exception as error:  # noqa: BLE001 - the key at hand goes on being good; looked at again in a moment
                log.warning("signing keys not looked at", reason=repr(error)[:300])

    async def _take_current(self, known: list[Key]) -> None:
        kid = next(key.kid for key in reversed(known) if key.state == "current")
        if self._current is None or self._current.kid != kid:
            secret = await self._store.get(_PREFIX + kid)
            self._current = SigningKey(kid, Ed25519PrivateKey.from_private_bytes(secret.value))

    async def _make(self, transaction: Transaction, state: str) -> None:
        kid = f"k{secrets.token_hex(8)}"
        private = Ed25519PrivateKey.generate()
        await self._store.put(_PREFIX + kid, private.private_bytes_raw())
        public = private.public_key().public_bytes_raw()
        await rows.add(transaction, kid, public, "next" if state == "next" else "current")

    async def _move_from_table(self) -> None:
        async with self._database.transaction() as transaction:
            await rows.lock(transaction)
            for kid, sealed in (await rows.sealed_in_table(transaction.connection)).items():
                private = self._legacy.open(sealed, kid)
                await self._store.put(_PREFIX + kid, private)
                public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
                await rows.moved(transaction, kid, public)

    # -- what operators and clients ask ------------------------------------------------------------

    async def rotate(self, call: Call, ask: contract.RotateKeys) -> Outcome[contract.Keys]:
        """The next key has been public since it was made; now it signs."""

        changed: set[str] = set()

        async def work(transaction: Transaction) -> contract.Keys:
            await rows.lock(transaction)
            known = await rows.all_of(transaction.connection)
            for key in known:
                if key.state == "current":
                    await rows.set_state(transaction, key.kid, "retired")
                    changed.add(key.kid)
                if key.state != "next" and ask.distrust_old and not key.distrusted:
                    await rows.distrust(transaction, key.kid)
                    changed.add(key.kid)
                    facts.revoke(transaction, contract.AccessRevoked(kid=key.kid))
            await rows.set_state(transaction, next(k.kid for k in known if k.state == "next"), "current")
            await self._make(transaction, "next")
            after = await rows.all_of(transaction.connection)
            # Public before anything can be signed with it; what was retired is told when it is true.
            await self._publish(after[-1])
            return _shown(after)

        outcome = await call.once(work)
        async with self._database.reading() as connection:
            known = await rows.all_of(connection)
        await self._take_current(known)
        await self.publish_all([key for key in known if key.kid in changed])
        for kid in changed:
            await self._store.delete(_PREFIX + kid)  # it never signs again
        return outcome

    async def page(self, _call: Call, _query: contract.ListKeys) -> contract.Keys:
        async with self._database.reading() as connection:
            return _shown(await rows.all_of(connection))


def _published(key: Key) -> PublishedKey:
    retired_at = key.retired_at.timestamp() if key.retired_at is not None else None
    return PublishedKey(key.public, retired_at, key.distrusted)


def _shown(known: list[Key]) -> contract.Keys:
    now = datetime.now(UTC)
    return contract.Keys(
        items=tuple(
            contract.KeyEntry(
                kid=key.kid, x=base64.urlsafe_b64encode(key.public).rstrip(b"=").decode(), state=key.state
            )
            for key in known
            if key.shown(now)
        )
    )
