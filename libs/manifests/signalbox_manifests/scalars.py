"""Scalars by the core schema of YAML 1.2, of which those of JSON are a part."""

import re
from math import inf, isfinite
from typing import Any

from signalbox_manifests.syntax import BadScalar

_MAX_DIGITS = 400
_MAX_INTEGER = 2**63 - 1  # what the writers of JSON around here can write

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(NULLS),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def plain_scalar(text: str) -> Any:
    """By the core schema of YAML 1.2, in which `no` and `2024-01-01` are texts."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "+-.0123456789":
        if _INTEGER.fullmatch(text):
            return _whole(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        if _FLOAT.fullmatch(text):
            return _fraction(text)
        if _NOT_FINITE.fullmatch(text):
            raise BadScalar("bad_number", f"`{text}` is not a number that JSON can hold.")
    return text


def _whole(text: str, base: int) -> int:
    value = int(text, base) if len(text) <= _MAX_DIGITS else _MAX_INTEGER + 1
    if -_MAX_INTEGER - 1 <= value <= _MAX_INTEGER:
        return value
    raise BadScalar("bad_number", "The number does not fit into 64 bits.")


def _fraction(text: str) -> float:
    value = float(text) if len(text) <= _MAX_DIGITS else inf
    if isfinite(value):
        return value
    raise BadScalar("bad_number", "The number is too large or too long.")
