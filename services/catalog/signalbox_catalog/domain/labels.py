"""Labels, and selectors that find resources by them; both as in Kubernetes."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from signalbox_catalog.errors import BadInput
from signalbox_manifests import Flaw

MOST_LABELS = 64
LONGEST_PREFIX = 253
LONGEST_SELECTOR = 1000
MOST_REQUIREMENTS = 20

_NAME = re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)*")
_NAME_FORM = "at most 63 letters, digits and “-_.”, with a letter or digit at both ends"
_KEY_FORM = f"a name of {_NAME_FORM}, and before it, if at all, a domain and a slash"


class Operator(StrEnum):
    IN = "in"
    NOT_IN = "notin"
    EXISTS = "exists"
    ABSENT = "absent"


@dataclass(frozen=True)
class Requirement:
    """One condition of a selector."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()
    """At least one for `in` and `notin`, none otherwise."""


_WORD = r"[^\s!=(),]+"
_FORMS: tuple[tuple[Operator, re.Pattern[str]], ...] = (
    (Operator.EXISTS, re.compile(rf"(?P<key>{_WORD})")),
    (Operator.ABSENT, re.compile(rf"!\s*(?P<key>{_WORD})")),
    (Operator.IN, re.compile(rf"(?P<key>{_WORD})\s*==?\s*(?P<values>(?:{_WORD})?)")),
    (Operator.NOT_IN, re.compile(rf"(?P<key>{_WORD})\s*!=\s*(?P<values>(?:{_WORD})?)")),
    (Operator.IN, re.compile(rf"(?P<key>{_WORD})\s+in\s*\((?P<values>[^()]*)\)")),
    (Operator.NOT_IN, re.compile(rf"(?P<key>{_WORD})\s+notin\s*\((?P<values>[^()]*)\)")),
)
_FORMS_SHOWN = "“a=b”, “a!=b”, “a in (b, c)”, “a notin (b, c)”, “a” or “!a”"
_COMMA = re.compile(r",(?![^(]*\))")
"""One that is not inside parentheses."""

_HOLDS: dict[Operator, Callable[[Requirement, Mapping[str, str]], bool]] = {
    Operator.IN: lambda wanted, labels: labels.get(wanted.key) in wanted.values,
    Operator.NOT_IN: lambda wanted, labels: labels.get(wanted.key) not in wanted.values,
    Operator.EXISTS: lambda wanted, labels: wanted.key in labels,
    Operator.ABSENT: lambda wanted, labels: wanted.key not in labels,
}


def check_labels(labels: Mapping[str, object], field: str) -> list[Flaw]:
    """What is wrong with them; a value may be no text, because YAML makes numbers of what has no quotes."""
    if len(labels) > MOST_LABELS:
        message = f"A resource has at most {MOST_LABELS} labels, not {len(labels)}."
        return [Flaw(message, "too_many_labels", field=field)]
    wrong_keys = [
        Flaw(f"The key {_shown(key)} is not {_KEY_FORM}.", "bad_label_key", field=f"{field}.{key[:100]}")
        for key in labels
        if not _is_key(key)
    ]
    wrong_values = [
        Flaw(problem, "bad_label_value", field=f"{field}.{key[:100]}")
        for key, value in labels.items()
        if (problem := _problem_of_value(key, value))
    ]
    return wrong_keys + wrong_values


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """The requirements, all of which are to hold; none for an empty text."""
    if len(text) > LONGEST_SELECTOR:
        raise _bad(f"A selector has at most {LONGEST_SELECTOR} characters, not {len(text)}.")
    if not text.strip():
        return ()
    parts = _COMMA.split(text)
    if len(parts) > MOST_REQUIREMENTS:
        raise _bad(f"A selector has at most {MOST_REQUIREMENTS} requirements, not {len(parts)}.")
    if not all(part.strip() for part in parts):
        raise _bad(f"A comma in {_shown(text)} has nothing before or behind it.")
    return tuple(_requirement(part.strip()) for part in parts)


def format_selector(requirements: Iterable[Requirement]) -> str:
    """The one way of writing them that we use; `parse_selector` reads the same from it."""
    return ",".join(_written(requirement) for requirement in requirements)


def matches(requirements: Iterable[Requirement], labels: Mapping[str, str]) -> bool:
    return all(_HOLDS[requirement.operator](requirement, labels) for requirement in requirements)


def _requirement(part: str) -> Requirement:
    for operator, form in _FORMS:
        if (found := form.fullmatch(part)) is None:
            continue
        listed = found.groupdict().get("values")
        values = frozenset() if listed is None else frozenset(value.strip() for value in listed.split(","))
        if not _is_key(found["key"]):
            raise _bad(f"In {_shown(part)}, {_shown(found['key'])} is not {_KEY_FORM}.")
        for value in sorted(values):
            if not _is_value(value):
                raise _bad(f"In {_shown(part)}, {_shown(value)} is not empty and not {_NAME_FORM}.")
        return Requirement(found["key"], operator, values)
    raise _bad(f"{_shown(part)} is not understood: a requirement is written {_FORMS_SHOWN}.")


def _written(requirement: Requirement) -> str:
    key, values = requirement.key, sorted(requirement.values)
    match requirement.operator:
        case Operator.EXISTS:
            return key
        case Operator.ABSENT:
            return f"!{key}"
        case Operator.IN | Operator.NOT_IN as operator if len(values) == 1:
            return f"{key}{'=' if operator is Operator.IN else '!='}{values[0]}"
        case operator:
            return f"{key} {operator} ({','.join(values)})"


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > LONGEST_PREFIX or not _PREFIX.fullmatch(prefix)):
        return False
    return _NAME.fullmatch(name) is not None


def _is_value(value: str) -> bool:
    return not value or _NAME.fullmatch(value) is not None


def _problem_of_value(key: str, value: object) -> str | None:
    if not isinstance(value, str):
        return f"The value of {_shown(key)} is not a text; in YAML it needs quotes."
    return None if _is_value(value) else f"The value {_shown(value)} is not empty and not {_NAME_FORM}."


def _shown(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:99]}…")


def _bad(message: str) -> BadInput:
    return BadInput(Flaw(message, "bad_selector", field="labelSelector"))
