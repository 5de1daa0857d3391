"""Our connection to NATS: it never gives up, and says once what is wrong with it."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from faststream.middlewares import AckPolicy
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js import JetStreamContext

from signalbox_common import telemetry
from signalbox_common.errors import Unavailable
from signalbox_common.settings import ServiceSettings

log = telemetry.get_logger()

RECONNECT_PAUSE: Any = 0.1  # seconds; nats-py types it as whole ones but sleeps any number
PING_INTERVAL = 5
EXIT_CLOSED = 75
STREAMS_API = "streams"
"""Before what is asked of the JetStream that has the streams, from an account of a program."""
_SILENT = "The message bus does not say what it has."


class Connection:
    """A FastStream broker and whether its connection stands."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.inbox_prefix = f"_INBOX.{settings.service}"
        self._up = asyncio.Event()
        self.stopping = False
        self.after_reconnect: Callable[[], Awaitable[None]] | None = None
        self.on_reconnect: set[Callable[[], None]] = set()
        """Called whenever the connection stands again: what was asked over the old one is not answered."""
        self._last_error = ""
        self.broker = NatsBroker(
            settings.nats_url.get_secret_value(),
            name=f"signalbox-{settings.service}-{settings.instance}",
            inbox_prefix=self.inbox_prefix,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_PAUSE,
            ping_interval=PING_INTERVAL,
            max_outstanding_pings=2,
            connect_timeout=2,
            graceful_timeout=settings.shutdown_grace,
            ack_policy=AckPolicy.MANUAL,
            apply_types=False,
            logger=None,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnect,
            closed_cb=self._on_close,
            reconnected_cb=self._on_reconnect,
        )

    async def connect(self) -> None:
        while True:
            try:
                await self.broker.connect()
            except OSError as error:
                await self._on_error(error)
                await asyncio.sleep(RECONNECT_PAUSE)
            else:
                break
        self._up.set()

    @property
    def client(self) -> Client:
        connection: Client = self.broker.config.connection_state.connection
        return connection

    @property
    def jetstream(self) -> JetStreamContext:
        jetstream: JetStreamContext = self.broker.config.connection_state.stream
        return jetstream

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    async def ready(self, patience: float) -> None:
        """Returns when the connection stands; raises Unavailable after that many seconds."""
        if self._up.is_set():
            return
        try:
            await asyncio.wait_for(self._up.wait(), patience)
        except TimeoutError as error:
            raise Unavailable("The message bus is not reachable.") from error

    async def ask_jetstream(self, what: str, body: bytes = b"", *, patience: float) -> dict[str, Any]:
        """What JetStream says about a stream or a consumer; raises Unavailable where it says nothing.

        An account without streams has a JetStream too, which answers that it has none. So ours goes by
        another name there; on a server with one account for all it has its own.
        """
        await self.ready(patience)
        for api in (STREAMS_API, "$JS.API"):
            try:
                answer = await self.client.request(f"{api}.{what}", body, timeout=patience)
            except NoRespondersError:
                continue
            except (TimeoutError, NatsError) as error:
                raise Unavailable(_SILENT) from error
            said: dict[str, Any] = json.loads(answer.data)
            return said
        raise Unavailable(_SILENT)

    async def drain(self, subscriptions: Sequence[Any]) -> None:
        """Ends them when all that the server has sent to them was taken.

        The library's own drain asks whether that is all with a PING that may overtake its UNSUB. What the
        server sends between the two would be thrown away; so the UNSUB is written before that begins.
        """
        client: Any = self.client
        for subscription in subscriptions:
            await client._send_unsubscribe(subscription._id)  # noqa: SLF001 - as above
        await client._flush_pending(force_flush=True)  # noqa: SLF001 - as above
        await asyncio.gather(*(subscription.drain() for subscription in subscriptions))

    async def wait_up(self) -> None:
        await self._up.wait()

    async def _on_error(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._last_error:  # a server that is away says the same ten times a second
            self._last_error = text
            log.warning("nats", error=text[:300])

    async def _on_disconnect(self) -> None:
        self._up.clear()

    async def _on_reconnect(self) -> None:
        self._last_error = ""
        self._up.set()
        log.info("nats is back")
        for listener in tuple(self.on_reconnect):
            listener()
        if self.after_reconnect is not None:
            try:
                await self.after_reconnect()
            except Exception as error:  # noqa: BLE001 - whoever needs what it does will meet the error again
                log.warning("after the reconnect", reason=repr(error)[:300])

    async def _on_close(self) -> None:
        """The client gives up for ever on some errors; a process without a bus is better started anew."""
        if not self.stopping:
            log.critical("the connection to nats was closed for good", last_error=self._last_error)
            os._exit(EXIT_CLOSED)
