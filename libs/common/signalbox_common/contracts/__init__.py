"""What the services owe each other: one module per owning service, and what every one of them answers."""

from signalbox_common.contracts import (
    auth,
    base,
    catalog,
    events,
    git,
    health,
    operations,
    rotation,
    sandbox,
    streams,
    tasks,
    work,
)

__all__ = [
    "auth",
    "base",
    "catalog",
    "events",
    "git",
    "health",
    "operations",
    "rotation",
    "sandbox",
    "streams",
    "tasks",
    "work",
]
