"""How things are written for people."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.cells import cell_len

SECOND, MINUTE, HOUR, DAY, YEAR = 1, 60, 3600, 86400, 365 * 86400
_AGES = (
    # below this, in units of this, with a rest in units of that: as kubectl counts
    (2 * MINUTE, (SECOND, "s"), None),
    (10 * MINUTE, (MINUTE, "m"), (SECOND, "s")),
    (3 * HOUR, (MINUTE, "m"), None),
    (8 * HOUR, (HOUR, "h"), (MINUTE, "m")),
    (2 * DAY, (HOUR, "h"), None),
    (8 * DAY, (DAY, "d"), (HOUR, "h")),
    (2 * YEAR, (DAY, "d"), None),
    (8 * YEAR, (YEAR, "y"), (DAY, "d")),
)
GAP = "   "


def called(kind: str, name: str) -> str:
    """`bot/my-bot`: what commands take, too."""
    return f"{kind.lower()}/{harmless(name)}"


def harmless(text: str) -> str:
    """Without anything that a terminal would obey: other people have written it."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def on_one_line(text: str, most: int | None = None) -> str:
    short = harmless(" ".join(text.split()))
    return short if most is None or len(short) <= most else f"{short[: most - 1]}…"


def age(since: datetime, now: datetime) -> str:
    seconds = max(0, int((now - since).total_seconds()))
    for limit, (unit, name), rest in _AGES:
        if seconds < limit:
            more = f"{seconds % unit // rest[0]}{rest[1]}" if rest and seconds % unit // rest[0] else ""
            return f"{seconds // unit}{name}{more}"
    return f"{seconds // YEAR}y"


def moment(at: datetime, now: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S} ({age(at, now)} ago)"


class Columns:
    """Lines up what is written row by row; what came before it does not move."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def make_room(self, rows: Iterable[Sequence[str]]) -> None:
        for row in rows:
            self._widths += [0] * (len(row) - len(self._widths))
            self._widths = [
                max(width, cell_len(cell))
                for width, cell in zip(self._widths, [*row, *[""] * len(self._widths)], strict=False)
            ]

    def line(self, row: Sequence[str]) -> str:
        self.make_room([row])
        cells = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, self._widths, strict=False)
        )
        return GAP.join(cells).rstrip()


def lined_up(rows: Sequence[Sequence[str]]) -> list[str]:
    columns = Columns()
    columns.make_room(rows)
    return [columns.line(row) for row in rows]
