"""Hands events of services outside to the stream that they are checked from."""

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from signalbox_common.bus.connection import Connection
from signalbox_common.contracts.streams import EXTERNAL
from signalbox_common.errors import Unavailable
from signalbox_gateway.external import ExternalEvent

PATIENCE = 3.0


async def publish(connection: Connection, event: ExternalEvent) -> None:
    """Returns when the stream has it. To try again is safe: an event with the same id is told once."""
    await connection.ready(PATIENCE)
    try:
        await connection.jetstream.publish(
            event.taken_in_on, event.data, stream=EXTERNAL.name, timeout=PATIENCE, headers=event.headers()
        )
    except (NatsError, JetStreamError, TimeoutError) as error:
        raise Unavailable("The stream of events does not take it at the moment.") from error
