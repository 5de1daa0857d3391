"""One warm process that has imported everything, and from which the services are forked."""

from signalbox_cli.stack.forkserver.client import ForkServer

__all__ = ["ForkServer"]
