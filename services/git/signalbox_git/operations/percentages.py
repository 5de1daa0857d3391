"""How far git is, by the lines that it shows whoever waits for it."""

import re
from dataclasses import dataclass

_LONGEST = 512
"""Bytes of a line that has not ended: nothing of ours is longer, whatever a remote says."""
_LINE = re.compile(
    rb"(?P<remote>remote: )?(?P<phase>Enumerating|Counting|Compressing|Receiving|Unpacking|Writing|Resolving"
    rb"|Checking|Updating) (?:objects|deltas|files|connectivity|references): +(?P<percent>[0-9]{1,3})%"
)
_ORDER = ("enumerating", "counting", "compressing", "receiving", "unpacking", "writing", "resolving")
_LAST = ("checking", "updating")
_OF_REMOTES = frozenset({"enumerating", "counting", "compressing", "resolving"})


@dataclass(frozen=True, order=True)
class Percentage:
    rank: int
    percent: int

    @property
    def phase(self) -> str:
        return (*_ORDER, *_LAST)[self.rank]


class Percentages:
    """Of one git process: they only grow, whatever its remote says in between."""

    def __init__(self) -> None:
        self._begun = b""
        self.latest: Percentage | None = None

    def hear(self, piece: bytes) -> None:
        *lines, begun = re.split(rb"[\r\n]", self._begun + piece)
        self._begun = begun[-_LONGEST:]
        for line in lines:
            found = _read(line)
            if found is not None and (self.latest is None or found > self.latest):
                self.latest = found


def _read(line: bytes) -> Percentage | None:
    found = _LINE.match(line)
    if found is None:
        return None
    phase, percent = found["phase"].decode("ascii").lower(), int(found["percent"])
    if percent > 100 or (found["remote"] is not None and phase not in _OF_REMOTES):
        return None
    return Percentage((*_ORDER, *_LAST).index(phase), percent)
