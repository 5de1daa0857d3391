"""The life of a signing key: next, current, retired."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from signalbox_common.tokens import LONGEST_LIFE

State = Literal["next", "current", "retired"]


@dataclass(frozen=True)
class Key:
    kid: str
    state: State
    public: bytes
    created_at: datetime
    retired_at: datetime | None = None
    distrusted: bool = False

    def shown(self, now: datetime) -> bool:
        """Whether a token that it has signed can still be good."""
        if self.distrusted:
            return False
        return self.retired_at is None or now - self.retired_at <= LONGEST_LIFE
