"""Resources as rows: a few columns that say most, for each kind."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from signalbox_cli.catalog.formatting import age, called, on_one_line
from signalbox_common.contracts.catalog import Resource

Pointer = str
"""A JSON pointer (RFC 6901), in which `*` is every item."""
Column = tuple[str, Pointer]

OWN: Mapping[str, Sequence[Column]] = {
    "Ghost": (("PROMPT", "/spec/systemPrompt"),),
    "Model": (("PROVIDER", "/spec/modelConfig/env/model"), ("MODEL", "/spec/modelConfig/env/model_id")),
    "Shell": (("TYPE", "/spec/shellType"),),
    "Bot": (
        ("GHOST", "/spec/ghostRef/name"),
        ("SHELL", "/spec/shellRef/name"),
        ("MODEL", "/spec/modelRef/name"),
    ),
    "Team": (("MODE", "/spec/collaborationModel"), ("BOTS", "/spec/members/*/botRef/name")),
    "Skill": (("VERSION", "/spec/version"), ("DESCRIPTION", "/spec/description")),
}
OTHERS: Sequence[Column] = (("DESCRIPTION", "/spec/description"),)
WIDE: Sequence[Column] = (
    ("DISPLAY NAME", "/metadata/displayName"),
    ("GENERATION", "/metadata/generation"),
    ("VERSION", "/metadata/resourceVersion"),
    ("STATE", "/status/state"),
    ("DESCRIPTION", "/spec/description"),
)
NOTHING = "-"
LONGEST, LONGEST_WIDE = 48, 120


@dataclass(frozen=True)
class Layout:
    """Which columns a table of resources has."""

    kind: str
    wide: bool = False
    namespaces: bool = False
    labels: bool = False
    kinds: bool = False
    """Whether names begin with their kind: more than one is shown."""
    deleted: bool = False
    events: bool = False

    @property
    def columns(self) -> list[Column]:
        own = list(OWN.get(self.kind, OTHERS))
        taken = {pointer for _, pointer in own}
        return own + [column for column in WIDE if self.wide and column[1] not in taken]

    def header(self) -> list[str]:
        return [
            *(["EVENT"] if self.events else []),
            *(["NAMESPACE"] if self.namespaces else []),
            "NAME",
            *(name for name, _ in self.columns),
            "AGE",
            *(["DELETED"] if self.deleted else []),
            *(["LABELS"] if self.labels else []),
        ]

    def row(self, resource: Resource, now: datetime | None = None, event: str = "") -> list[str]:
        at = now or datetime.now(UTC)
        metadata = resource.metadata
        most = LONGEST_WIDE if self.wide else LONGEST
        whole = resource.model_dump(mode="json", by_alias=True)
        gone = age(metadata.deleted_at, at) if metadata.deleted_at is not None else NOTHING
        name = called(resource.kind, metadata.name) if self.kinds else on_one_line(metadata.name)
        return [
            *([event] if self.events else []),
            *([metadata.namespace] if self.namespaces else []),
            name,
            *(cell(whole, pointer, most) for _, pointer in self.columns),
            age(metadata.created_at, at),
            *([gone] if self.deleted else []),
            *([labels_of(metadata.labels)] if self.labels else []),
        ]


def labels_of(labels: Mapping[str, str]) -> str:
    return on_one_line(",".join(f"{key}={value}" for key, value in sorted(labels.items()))) or NOTHING


def cell(document: Any, pointer: Pointer, most: int) -> str:
    found = [value for value in _at(document, pointer.split("/")[1:]) if value not in (None, "", [], {})]
    return on_one_line(",".join(_said(value) for value in found), most) or NOTHING


def _at(value: Any, steps: Sequence[str]) -> Iterator[Any]:
    if not steps:
        yield value
    elif steps[0] == "*":
        for item in value if isinstance(value, list) else ():
            yield from _at(item, steps[1:])
    elif isinstance(value, dict) and steps[0] in value:
        yield from _at(value[steps[0]], steps[1:])


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(_said, value)) if isinstance(value, list) else str(value)
