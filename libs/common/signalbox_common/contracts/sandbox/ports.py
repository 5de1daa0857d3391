"""What listens in a sandbox."""

from typing import Annotated

from pydantic import Field

from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox.base import AREA
from signalbox_common.contracts.sandbox.programs import EXECUTE

PortNumber = Annotated[int, Field(ge=1, le=65_535)]

CONNECT_TO_PORT = DataRoute(
    "POST",
    "/sandboxes/{sandbox}/ports/{port}",
    EXECUTE,
    least_role=ProjectRole.VIEWER,
    area=AREA,
    reads=True,
)
"""One connection to what listens there: the body goes in while the answer comes out."""
