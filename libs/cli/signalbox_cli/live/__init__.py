"""Events as they happen, for programs: each once and in order, across connections that break.

`follow` speaks with a gateway as a person or an API token, `follow_bus` with NATS as an operator.
"""

from signalbox_cli.live.bus import follow_bus
from signalbox_cli.live.gateway import ResyncRequired, follow
from signalbox_cli.live.publication import Publication

__all__ = ["Publication", "ResyncRequired", "follow", "follow_bus"]
