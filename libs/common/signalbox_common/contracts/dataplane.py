"""Routes of the data plane: where bytes travel straight to the service that holds them."""

import re
from dataclasses import dataclass

from signalbox_common.contracts.base import ContractError, GrantScope
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.programs import OWNERS

FENCE = "Signalbox-Fence"
"""The header with the epoch of whoever changes something for a run."""
_VERB = re.compile(r"[a-z]+\.[a-z0-9-]+")


@dataclass(frozen=True)
class DataRoute:
    """One route of one service, and who may use it: checked as it is for messages."""

    method: str
    path: str
    """Below the service's address, with names in braces: `/changes/{sha256}`."""
    does: str
    """What it is called in delegations: `git.put-changes`."""
    least_role: ProjectRole = ProjectRole.DEVELOPER
    area: str | None = None
    """What an API token's scope calls it; the service's name by default."""
    grant: GrantScope = GrantScope.PROJECT
    admin: bool = False
    in_person: bool = False
    caller: str | None = None
    reads: bool | None = None
    """Whether it only looks; by default what its method says."""

    def __post_init__(self) -> None:
        if not _VERB.fullmatch(self.does) or self.service not in OWNERS:
            raise ContractError(f"{self.does!r} is nothing that a service does")
        if not self.path.startswith("/") or self.method not in ("GET", "PUT", "POST", "DELETE"):
            raise ContractError(f"{self.method} {self.path} is no route")

    @property
    def service(self) -> str:
        return self.does.partition(".")[0]

    def verb(self) -> str:
        return self.does

    def scope(self) -> str:
        reads = self.method == "GET" if self.reads is None else self.reads
        return f"{self.area or self.service}:{'read' if reads else 'write'}"
