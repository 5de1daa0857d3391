"""The life of a service process: start in order, run until told to stop, finish what is held."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress

import uvloop

from signalbox_common import background, telemetry
from signalbox_common.bus import Call, ServiceBus
from signalbox_common.contracts import health as contract
from signalbox_common.dataplane import DataServer
from signalbox_common.db import Database, Transaction, is_outage
from signalbox_common.errors import Unavailable
from signalbox_common.health import Health, HealthServer
from signalbox_common.inbox import Inbox
from signalbox_common.outcomes import Checkpoint, no_checkpoint
from signalbox_common.secrets import KeyFile, LocalSecrets
from signalbox_common.secrets.desk import SecretsDesk
from signalbox_common.settings import OwnerSettings, SecretStoreSettings
from signalbox_common.space import DiskSpace
from signalbox_common.work import Worker
from signalbox_common.work.cancelling import Cancelling
from signalbox_common.work.operators import WorkDesk

log = telemetry.get_logger()

TIDY_EVERY = 3600.0
START_PAUSE = 0.2


class Service:
    """A service that owns a schema: its database, its bus and its health."""

    def __init__(
        self,
        settings: OwnerSettings,
        *,
        checkpoint: Checkpoint = no_checkpoint,
        node: str | None = None,
    ) -> None:
        """`node` is what several instances share that work may be for."""
        telemetry.configure(settings.service, settings.instance, settings.log_level, settings.otel_endpoint)
        self.settings = settings
        self.database = Database(settings)
        self.inbox = Inbox(self.database, checkpoint)
        self.bus = ServiceBus(settings, self.database, self.inbox)
        self.space = DiskSpace(settings.disk_path, settings.disk_least_free)
        telemetry.DISK_FREE.set_function(lambda: self.space.free)
        self.health = Health(
            settings,
            {"database": self.database.check, "nats": self._check_nats},
            {
                "keys": self.bus.buckets.keys.degraded,
                "relay": self.bus.relay.degraded,
                "disk": self.space.degraded,
            },
        )
        self.data = DataServer(settings.service, self.bus.grants, self.bus.revoked, self.space)
        self.work = Worker(self.database, self.inbox.pending, settings.instance, node=node)
        self.work.tell = self.bus.wakeups.tell
        self.bus.wakeups.listener = self.work.look
        self.health.measure = self.work.measure
        WorkDesk(self.database, self.work).register(self.bus)
        Cancelling(self.work).register(self.bus)
        self.prepare: Callable[[], Awaitable[None]] = _nothing
        """What must be done, with database and bus at hand, before the first message is taken."""
        self.finish: Callable[[], Awaitable[None]] = _nothing
        """What must be done when the last message was handled."""
        self.tidy: Callable[[Transaction], Awaitable[None]] = _nothing_to_tidy
        """What this service forgets, once an hour."""
        self._stopping = asyncio.Event()

        @self.bus.on_query(contract.Health)
        async def health(_call: Call, _query: contract.Health) -> contract.HealthReport:
            return await self.health.report()

    def keep_secrets(self, settings: SecretStoreSettings) -> LocalSecrets:
        """The secret store of this service, with a key file of its own; it does not start without it."""
        secret_key = settings.secret_key.get_secret_value()
        store = LocalSecrets(
            self.database, KeyFile(settings.secrets_dir / f"{settings.service}.keys", secret_key)
        )
        self.health.checks["secrets"] = self.prepare = store.check
        SecretsDesk(store).register(self.bus)
        return store

    async def _check_nats(self) -> None:
        if not self.bus.connection.is_up:
            raise Unavailable

    def stop(self) -> None:
        self._stopping.set()

    async def run(self, *, started: Callable[[], object] | None = None) -> None:
        """Serves until `stop`, then finishes what is held."""
        server = HealthServer(self.settings, self.health)
        server.start()
        tidying = asyncio.create_task(self._tidy())
        told = asyncio.create_task(self._stopping.wait())
        starting = asyncio.create_task(self._start())
        try:
            await asyncio.wait([starting, told], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self.health.started = True
                log.info("started", health_port=server.port)
                if started is not None:
                    started()
                await told
            log.info("stopping")
        finally:
            await background.end(starting, told, tidying)
            await self.data.stop()
            await self.work.stop(self.settings.shutdown_grace)
            with suppress(Exception):
                await asyncio.wait_for(self.bus.stop(), self.settings.shutdown_grace + 2)
            await self.finish()
            await self.database.close()
            await server.stop()
            telemetry.shutdown()
        log.info("stopped")

    async def _start(self) -> None:
        await self.bus.connection.connect()
        await self._prepare()
        await self.bus.start()
        if self.data.has_routes:
            if self.settings.data_listen is None:
                raise ValueError("SIGNALBOX_DATA_LISTEN says where the data plane listens, and is not set")
            await self.data.start(self.settings.data_listen)
        await self.bus.wakeups.start(*self.work.names)
        self.work.start()

    async def _prepare(self) -> None:
        while True:
            try:
                return await self.prepare()
            except Exception as error:
                if not (is_outage(error) or isinstance(error, Unavailable)):
                    raise
                log.warning("not ready to start yet", reason=repr(error)[:300])
                await asyncio.sleep(START_PAUSE)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_EVERY)
            try:
                await self.inbox.tidy()
                async with self.database.transaction() as transaction:
                    await self.tidy(transaction)
            except Exception as error:  # noqa: BLE001 - tidied up an hour later then
                log.warning("tidying failed", reason=repr(error)[:300])


async def _nothing() -> None:
    """Most services have nothing to prepare."""


async def _nothing_to_tidy(_transaction: Transaction) -> None:
    """Most services forget nothing but what the inbox does."""


def run(build: Callable[[], Service]) -> None:
    """The main function of every service process."""

    async def main() -> None:
        service = build()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stop)
        await service.run()

    uvloop.run(main())
