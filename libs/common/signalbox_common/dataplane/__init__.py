"""The data plane: bytes over HTTP/1.1, straight to the process that holds them.

Control goes over the bus; what is large, or goes on for long, comes here. Each request shows a grant, which
is checked as it is for messages, and an open response ends with what it was granted by.
"""

from signalbox_common.dataplane.client import Body, DataClient
from signalbox_common.dataplane.numbers import number_of
from signalbox_common.dataplane.server import DataRequest, DataServer

__all__ = ["Body", "DataClient", "DataRequest", "DataServer", "number_of"]
