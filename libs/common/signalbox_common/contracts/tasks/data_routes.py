"""What tasks serves as bytes."""

from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.roles import ProjectRole

READ_RUN_LOG = DataRoute("GET", "/runs/{run}/log", "tasks.read-log", least_role=ProjectRole.VIEWER)
"""Frames, as a program's output has them, from an offset on: `?from=&follow=`."""
READ_ARTIFACT = DataRoute(
    "GET", "/runs/{run}/artifacts/{name}", "tasks.read-artifact", least_role=ProjectRole.VIEWER
)
CHANGES = "changes.diff"
"""The artifact that is a unified diff of what a run has changed."""
