"""The bus: typed messages over NATS.

`Bus` sends; `ServiceBus` also serves. Commands and facts come through FastStream from durable consumers;
asks and queries, where every tenth of a millisecond counts, go over plain nats-py behind the same types.
"""

from signalbox_common.bus.calls import Call, FactCall
from signalbox_common.bus.client import Answer, Bus, Envelope, StoredCommand
from signalbox_common.bus.server import ServiceBus

__all__ = ["Answer", "Bus", "Call", "Envelope", "FactCall", "ServiceBus", "StoredCommand"]
