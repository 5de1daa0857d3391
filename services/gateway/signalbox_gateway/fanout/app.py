"""The process of this role; any number may run at once, and none of them leads."""

import asyncio
import signal
from contextlib import suppress

import uvloop

from signalbox_common import background, telemetry
from signalbox_common.bus.connection import Connection
from signalbox_common.errors import Unavailable
from signalbox_common.health import Health, HealthServer
from signalbox_gateway.event_quotas import EventQuotas
from signalbox_gateway.external import Reader
from signalbox_gateway.fanout.ingest import Ingest, Intake
from signalbox_gateway.fanout.replicator import Replicator
from signalbox_gateway.live.keepalive import FanoutHeartbeat
from signalbox_gateway.measured_redis import MeasuredRedis
from signalbox_gateway.settings import FanoutSettings

log = telemetry.get_logger()


class Fanout:
    """Runs until it is stopped; what it was doing, another one or the next one goes on with."""

    def __init__(self, settings: FanoutSettings) -> None:
        telemetry.configure(settings.service, settings.instance, settings.log_level, settings.otel_endpoint)
        self._settings = settings
        self._connection = Connection(settings)
        self._redis = MeasuredRedis.at(settings.redis_url.get_secret_value(), patience=3.0)
        self.health = Health(settings, {"nats": self._check_nats, "redis": self._check_redis})
        self.health.measure = self._redis.measure
        self._stopping = asyncio.Event()

    async def _check_nats(self) -> None:
        if not self._connection.is_up:
            raise Unavailable

    async def _check_redis(self) -> None:
        await self._redis.ping()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        server = HealthServer(self._settings, self.health)
        server.start()
        working: list[asyncio.Task[None]] = []
        stopping: asyncio.Task[object] = asyncio.create_task(self._stopping.wait())
        try:
            connecting = asyncio.create_task(self._connection.connect())
            await asyncio.wait([connecting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                working = self._work()
                self.health.started = True
                log.info("started")
                await asyncio.wait({*working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            connecting.cancel()
            for task in working:
                if task.done():
                    task.result()  # none of them ends by itself: the process is better started anew
        finally:
            await background.end(*working, stopping)
            self._connection.stopping = True
            with suppress(Exception):
                await self._connection.broker.stop()
            await self._redis.aclose()
            await server.stop()
            telemetry.shutdown()

    def _work(self) -> list[asyncio.Task[None]]:
        settings = self._settings
        intake = Intake(
            Reader(settings.secret_key.get_secret_value()),
            EventQuotas(
                self._redis, events=settings.quota_events_per_day, size=settings.quota_event_bytes_per_day
            ),
            EventQuotas.of_letters(self._redis, settings.quota_dead_letters_per_day),
        )
        return [
            asyncio.create_task(Replicator(self._connection, self._redis).run(), name="replicator"),
            asyncio.create_task(Ingest(self._connection, intake).run(), name="ingest"),
            asyncio.create_task(FanoutHeartbeat(self._redis).beat(self._settings.instance), name="heartbeat"),
        ]


def main() -> None:
    async def run() -> None:
        fanout = Fanout(FanoutSettings())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, fanout.stop)
        await fanout.run()

    uvloop.run(run())
