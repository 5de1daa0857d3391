"""The environment of the sandbox service."""

import os
import uuid
from pathlib import Path
from typing import Literal

from pydantic import Field

from signalbox_common.settings import QuotaSettings, SecretStoreSettings

_NODE_FILE = ".node"


class SandboxSettings(SecretStoreSettings, QuotaSettings):
    service: Literal["sandbox"] = "sandbox"
    sandboxes: Path = Path(".signalbox/sandboxes")
    """The folder of all sandboxes of this node, where its role `keeper` serves."""
    trees: Path = Path(".signalbox/trees")
    """Where git prepares checkouts, on a disk that it shares with this node."""
    templates: Path = Path(".signalbox/templates")
    """Where templates are kept, on a disk that nodes share."""
    node: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """What this node is called, always the same; by default it is remembered in that folder."""
    sandbox_capacity: int = Field(default=500, ge=1)
    """Sandboxes that this node has room for."""
    sandbox_memory_mb: int = Field(default=4096, ge=16)
    """Memory of a sandbox for which nobody has said how much, where the node limits it."""
    sandbox_disk_mb: int = Field(default=10_240, ge=1)
    """The same of the disk."""
    sandbox_files: int = Field(default=500_000, ge=1)
    """Files and folders that a sandbox may have."""
    sandbox_wait: float = Field(default=300.0, gt=0)
    """Seconds after which one that no node had room for has failed."""
    sandbox_network: Literal["none", "allow", "public"] = "public"
    """The most of the network that may be asked for: named hosts, or every public one."""
    data_url: str | None = None
    """Where others reach the data plane of this instance, if that is not where it listens."""
    sandbox_kept_days: int = Field(default=30, ge=1)
    """How long those that have ended are listed."""
    paused_kept_days: int = Field(default=30, ge=1)
    """How long a paused one stays."""

    def node_name(self) -> str:
        """Of all instances that share the folder."""
        if self.node is not None:
            return self.node
        path = self.sandboxes / _NODE_FILE
        self.sandboxes.mkdir(parents=True, exist_ok=True)
        draft = self.sandboxes / f"{_NODE_FILE}-{uuid.uuid4().hex}"
        draft.write_text(f"node-{uuid.uuid4().hex[:12]}", encoding="utf-8")
        try:
            os.link(draft, path)  # the first one counts
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        return path.read_text(encoding="utf-8")

    def data_address(self) -> str:
        """As others are told of it."""
        listen = self.data_url or self.data_listen or ""
        return listen if listen.startswith(("unix:", "http:", "https:")) else f"http://{listen}"
