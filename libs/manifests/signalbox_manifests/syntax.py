"""What stops a reader, and how messages quote a text from anybody."""

import re

_SHOWN = 80
_PLAIN_WORD = re.compile(r"[A-Za-z!:/._-]{1,24}")


class BadSyntax(Exception):
    """From this character on the text makes no sense."""

    def __init__(self, code: str, message: str, index: int, *, surely: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.index = index
        self.surely = surely
        """Whether it is wrong even where another notation could make something of it."""


class BadScalar(Exception):
    """A value cannot be what it is written as."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def hinted(text: str) -> str:
    """A word that could as well be somebody's key: only what is plainly none is quoted."""
    return text if _PLAIN_WORD.fullmatch(text) else "…"


def shown(text: str) -> str:
    """Short enough for a message, and nothing that a terminal would obey."""
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in short
    )
