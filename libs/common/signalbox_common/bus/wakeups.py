"""Wake-ups between the instances of one service: "look at your work now". They may be lost."""

from collections.abc import Callable

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from signalbox_common import telemetry
from signalbox_common.bus.connection import Connection
from signalbox_common.settings import ServiceSettings

log = telemetry.get_logger()

ALL = "all"
"""Whom to wake where any of them can do it; no instance is called so."""

Listener = Callable[[str], None]
"""Is told by which of its names it was called."""


def look_subject(service: str, name: str) -> str:
    return f"node.{service}.{name}.v1.look"


def _nobody(_name: str) -> None:
    """Until somebody listens."""


class WakeUps:
    """What this instance tells the others of its service, and hears from them."""

    def __init__(self, connection: Connection, settings: ServiceSettings) -> None:
        self.listener: Listener = _nobody
        self._connection = connection
        self._service = settings.service
        self._instance = settings.instance

    async def start(self, *names: str) -> None:
        """Hears what is for these names, and for all, from now on; without NATS, once that is back."""
        client = self._connection.client
        for name in dict.fromkeys((*names, ALL)):
            await client.subscribe(look_subject(self._service, name), cb=self._hear)
        try:
            await client.flush()
        except NatsError as error:
            log.debug("subscriptions to wake-ups not confirmed", reason=repr(error)[:200])

    async def tell(self, name: str) -> None:
        """Whoever does not hear it looks by itself a little later, so it is not waited for."""
        if not self._connection.is_up:
            return
        try:
            await self._connection.client.publish(look_subject(self._service, name), self._instance.encode())
        except NatsError as error:
            log.debug("wake-up not sent", reason=repr(error)[:200])

    async def _hear(self, message: Msg) -> None:
        if message.data != self._instance.encode():
            self.listener(message.subject.split(".")[2])
