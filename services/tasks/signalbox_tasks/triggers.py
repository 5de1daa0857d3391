"""Triggers as records: what of a payload they go by, and what it becomes."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from string import Template
from typing import Any

from signalbox_common.contracts.tasks import NewTask, TriggeredTask, TriggerRules, Verification

_LONGEST_VALUE = 10_000
_LONGEST_TITLE, _LONGEST_DESCRIPTION = 500, 100_000
_PART = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_-]*)|\[([0-9]{1,9})\]|\['([^']*)'\]|\["([^"]*)"\]""")
_MISSING = object()
Part = str | int


class BadPath(ValueError):
    """It does not lead to one place."""


class NotUsable(Exception):
    """A payload that the task cannot be made from."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@lru_cache(maxsize=10_000)
def parsed(path: str) -> tuple[Part, ...]:
    """A singular query of RFC 9535: `$.a[0]['b c']`."""
    place, parts = 1, list[Part]()
    while place < len(path):
        found = _PART.match(path, place)
        if found is None:
            raise BadPath(f"{path!r} leads to no single place: it is made of `.name`, `['name']` and `[0]`.")
        name, number, single, double = found.groups()
        named = next((part for part in (name, single, double) if part is not None), "")
        parts.append(int(number) if number is not None else named)
        place = found.end()
    return tuple(parts)


def _at(payload: Any, path: str) -> Any:
    for part in parsed(path):
        there = part in payload if isinstance(payload, dict) and isinstance(part, str) else False
        if isinstance(payload, list) and isinstance(part, int):
            there = part < len(payload)
        if not there:
            return _MISSING
        payload = payload[part]
    return payload


def _text(value: Any) -> str:
    """As a program reads it."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True)
class Trigger:
    id: uuid.UUID
    project_id: uuid.UUID
    name: str
    event: str | None
    verify: Verification
    secret: uuid.UUID | None
    """Which of those that it was given is signed with."""
    task: TriggeredTask
    rules: TriggerRules
    paused: bool
    token: bytes | None
    """The SHA-256 of the end of its address."""
    allowance: float
    """Calls that it takes now."""
    refilled_at: datetime
    authority: uuid.UUID
    proof_at: datetime
    acts_for: uuid.UUID
    acts_for_name: str
    created_by: uuid.UUID
    created_at: datetime
    updated_at: datetime
    reason: str | None = None
    delegated: bool = False
    last_task: uuid.UUID | None = None
    version: int = 1

    def changed(self, now: datetime, **changes: Any) -> "Trigger":
        return replace(self, **changes, updated_at=now, version=self.version + 1)

    def refilled(self, now: datetime) -> "Trigger":
        """As many calls come back in a minute as there may be in one."""
        most = self.rules.per_minute
        since = max(0.0, (now - self.refilled_at).total_seconds())
        return replace(self, allowance=min(most, self.allowance + since * most / 60), refilled_at=now)

    def listens_to(self, type_: str) -> bool:
        return self.event is not None and matches(self.event, type_)

    def is_meant(self, payload: Any) -> bool:
        return all(
            (value := _at(payload, path)) is not _MISSING and _text(value) in values
            for path, values in self.rules.when.items()
        )

    def task_for(self, payload: Any) -> NewTask:
        """With what is to be taken from it; raises NotUsable where that is not there."""
        found = dict(self.task.spec.parameters)
        for name, path in self.rules.parameters.items():
            value = _at(payload, path)
            if value is _MISSING:
                if name not in found:
                    raise NotUsable(
                        "parameter_missing", f"There is nothing at {path}, which {name} is to be."
                    )
                continue
            text = _text(value)
            if len(text) > _LONGEST_VALUE:
                raise NotUsable("parameter_too_long", f"{name} has more than {_LONGEST_VALUE} characters.")
            found[name] = text
        spec = self.task.spec.model_copy(update={"parameters": found})
        title = " ".join(_filled(self.task.title, found).split())[:_LONGEST_TITLE] or self.task.title
        description = _filled(self.task.description, found)[:_LONGEST_DESCRIPTION]
        return self.task.model_copy(update={"title": title, "description": description, "spec": spec})


def matches(pattern: str, type_: str) -> bool:
    """As subjects are matched: `*` is one word, and `>` all that follow."""
    wanted, words = pattern.split("."), type_.split(".")
    if wanted[-1] == ">" and len(words) >= len(wanted):
        wanted, words = wanted[:-1], words[: len(wanted) - 1]
    return len(wanted) == len(words) and all(
        each in ("*", word) for each, word in zip(wanted, words, strict=True)
    )


def _filled(text: str, parameters: Mapping[str, str]) -> str:
    """`${NAME}` becomes the parameter; whatever else there is stays."""
    return Template(text).safe_substitute(parameters)
