"""What the services owe each other: one module per owning service."""

from signalbox_common.contracts import auth, base, catalog, git, sandbox, streams, tasks

__all__ = ["auth", "base", "catalog", "git", "sandbox", "streams", "tasks"]
