"""The buckets that auth alone writes: what it says there, and what somebody else may have put there."""

from collections.abc import AsyncIterator

from nats.errors import NoRespondersError
from nats.js.errors import NoStreamResponseError as NoStream

from signalbox_common import telemetry
from signalbox_common.bus.connection import Connection
from signalbox_common.bus.stored import StoredMessage, StreamReader
from signalbox_common.contracts.streams import AUDIT_HEAD, GRANT_KEYS, HISTORY, Stream
from signalbox_common.entries import Entry, Found, RootKey, TrustAnchor
from signalbox_common.errors import Unavailable

log = telemetry.get_logger()

_PATIENCE = 3.0
_STORE_TIMEOUT = 1.5
_PAGE = 500
_REMEMBERED = 1_000
_NAMED = 3


class SignedBucket:
    """One of them, as whoever may reads it."""

    def __init__(self, connection: Connection, stream: Stream, anchor: TrustAnchor) -> None:
        self._connection = connection
        self._stream = stream
        self._anchor = anchor
        self._reader = StreamReader(connection, stream)
        self.name = stream.name.removeprefix("KV_")
        self._prefix = stream.subjects[0].removesuffix(">")
        self._ignored: dict[str, int] = {}
        """How many entries lie there that auth has not signed, or had outdated, by name."""

    async def newest(self, name: str) -> Found:
        stored = await self._reader.after(self._prefix + name, 0, HISTORY)
        return self._judged(name, [each.body for each in stored])

    async def look_at_all(self) -> None:
        """So that `degraded` tells of what nobody has asked for, too."""
        held: dict[str, list[bytes]] = {}
        async for each in self._all():
            held.setdefault(each.subject.removeprefix(self._prefix), []).append(each.body)
        for gone in self._ignored.keys() - held.keys():
            del self._ignored[gone]
        for name, bodies in held.items():
            self._judged(name, bodies)

    def degraded(self) -> str | None:
        if not self._ignored:
            return None
        names = ", ".join(sorted(self._ignored)[:_NAMED])
        return f"{sum(self._ignored.values())} entries are not auth's, and ignored: {names}"

    async def put(self, root: RootKey, name: str, entry: Entry) -> None:
        await self._connection.ready(_PATIENCE)
        signed = root.sign(self.name, name, entry)
        try:
            await self._connection.jetstream.publish(self._prefix + name, signed, timeout=_STORE_TIMEOUT)
        except (TimeoutError, NoStream, NoRespondersError) as error:
            raise Unavailable(f"The bucket {self.name} does not answer.") from error

    async def _all(self) -> AsyncIterator[StoredMessage]:
        last = 0
        while page := await self._reader.after(f"{self._prefix}>", last, _PAGE):
            for each in page:
                yield each
            last = page[-1].sequence

    def _judged(self, name: str, bodies: list[bytes]) -> Found:
        found = self._anchor.newest(self.name, name, bodies)
        if not found.ignored:
            self._ignored.pop(name, None)
        elif len(self._ignored) < _REMEMBERED and self._ignored.get(name) != found.ignored:
            self._ignored[name] = found.ignored
            log.error("entries that are not auth's", bucket=self.name, name=name, entries=found.ignored)
        return found


class SignedBuckets:
    """All that there are."""

    def __init__(self, connection: Connection, anchor: TrustAnchor) -> None:
        self.keys = SignedBucket(connection, GRANT_KEYS, anchor)
        self.audit = SignedBucket(connection, AUDIT_HEAD, anchor)
