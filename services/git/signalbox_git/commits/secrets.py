"""Where secrets stand in a text: by the rules of detect-secrets, and a few for what it does not know."""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import detect_secrets.plugins
from detect_secrets.plugins.base import RegexBasedDetector

_LONGEST_LINE = 4000
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


def secrets_in(text: str) -> Iterator[tuple[int, str]]:
    """The number of each line that has one, and what it is."""
    suspects = [rule for rule in _rules() if rule[1].search(text)]  # of most texts there are none
    if not suspects:
        return
    for number, line in enumerate(text.splitlines(), 1):
        shown = line[:_LONGEST_LINE]
        for what, pattern, detector in suspects:
            if pattern.search(shown) and (detector is None or any(detector.analyze_string(shown))):
                yield number, what
                break
