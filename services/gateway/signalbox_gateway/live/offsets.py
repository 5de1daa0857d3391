"""Where somebody is in the stream of events."""

import re
from dataclasses import dataclass

from signalbox_common.errors import Invalid

_FORM = re.compile(r"([0-9a-f]{16}):([0-9]{1,18})")


@dataclass(frozen=True)
class Offset:
    """A number of the stream, and which incarnation of the stream it is a number of."""

    epoch: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.sequence}"

    @staticmethod
    def read(text: str) -> "Offset":
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise Invalid("A position is one that was answered before.", code="bad_offset")
        return Offset(match.group(1), int(match.group(2)))
