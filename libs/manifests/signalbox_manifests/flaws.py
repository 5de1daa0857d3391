"""What is wrong with a text, and where."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Flaw:
    """One thing that is wrong with what was sent, and where it stands."""

    message: str
    code: str
    field: str = ""
    """As a path with dots: `spec.members.0.botRef`."""
    document: int | None = None
    """The number of the document, from 1, where many came at once."""
    line: int | None = None
    """The line in what was sent, from 1."""


class ManifestError(Exception):
    """The text cannot be read as documents; carries all that was found wrong with it."""

    def __init__(self, *flaws: Flaw) -> None:
        super().__init__("; ".join(flaw.message for flaw in flaws[:3]))
        self.flaws: Sequence[Flaw] = flaws
