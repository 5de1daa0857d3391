"""Where secrets stand in a text: by the rules of detect-secrets, and a few for what it does not know."""

import inspect
import math
import re
import time
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import detect_secrets.plugins
from detect_secrets.plugins.base import RegexBasedDetector

_WINDOW, _OVERLAP = 3000, 1000
_LEFT_OUT = frozenset({"IPPublicDetector"})
"""Addresses are no secrets."""
_OWN = (
    ("a token of GitHub", r"\bgithub_pat_[A-Za-z0-9_]{82}\b"),
    ("a key of a model's provider", r"\bsk-(?:ant-|or-v1-)[A-Za-z0-9_-]{32,}"),
    ("a key of Google", r"\bAIza[0-9A-Za-z_-]{35}\b"),
    ("a token of Signalbox", r"\bsbx_(?:pat|svc)_[A-Za-z0-9]{30,}"),
)


@cache
def _rules() -> tuple[tuple[str, re.Pattern[str], RegexBasedDetector | None], ...]:
    """What it is, how it is found, and who looks at a line that has it again."""
    found: list[tuple[str, re.Pattern[str], RegexBasedDetector | None]] = []
    for module in iter_modules(detect_secrets.plugins.__path__):
        plugin = import_module(f"detect_secrets.plugins.{module.name}")
        for name, kind in vars(plugin).items():
            own = isinstance(kind, type) and kind.__module__ == plugin.__name__
            if not own or inspect.isabstract(kind) or name in _LEFT_OUT:
                continue
            if issubclass(kind, RegexBasedDetector):
                detector = kind()
                found += [
                    (kind.secret_type, re.compile(each.pattern, each.flags | re.MULTILINE), detector)
                    for each in detector.denylist
                ]
    return (*found, *((what, re.compile(pattern), None) for what, pattern in _OWN))


class LookedTooLong(Exception):
    """Nobody knows what is in the rest."""


def secrets_in(text: str, *, within: float = math.inf) -> Iterator[tuple[int, str]]:
    """The number of each line that has one, and what it is; raises LookedTooLong.

    Looked at in windows that overlap: of some of these rules the time grows with the square of the length.
    """
    ends = time.monotonic() + within
    seen: set[tuple[int, str]] = set()
    line = 1
    for begin in range(0, max(1, len(text)), _WINDOW):
        window = text[begin : begin + _WINDOW + _OVERLAP]
        for what, pattern, detector in _rules():
            found = pattern.search(window)
            if found is None or (detector is not None and not any(detector.analyze_string(window))):
                continue
            place = (line + window.count("\n", 0, found.start()), what)
            if place not in seen:
                seen.add(place)
                yield place
        line += text.count("\n", begin, begin + _WINDOW)
        if time.monotonic() > ends:
            raise LookedTooLong
