"""Teams: bots, and how they work together."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from signalbox_catalog.domain.kinds.base import Document, Kind, Part, Ref, Reference, Spec


class Member(Part):
    bot_ref: Ref
    role: str | None = None
    prompt: str | None = None
    require_confirmation: bool | None = None
    context_passing: Literal["none", "original_user", "previous_bot", "original_and_previous"] | None = None


class TeamSpec(Spec):
    """Bots, and how they work together."""

    members: list[Member]
    collaboration_model: Literal["solo", "pipeline", "route", "coordinate", "collaborate"]
    bind_mode: list[str] | None = Field(default=None, alias="bind_mode")
    description: str | None = None
    icon: str | None = None

    def references(self) -> Iterator[Reference]:
        for number, member in enumerate(self.members):
            yield member.bot_ref.to("Bot", "members", number, "botRef")


_SHORT = {"bots": ("members",)}


def _member(bot: Any) -> Any:
    """A name, a reference, or a member already."""
    return bot if isinstance(bot, dict) and "botRef" in bot else {"botRef": bot}


def _same(bots: list[Any], members: Any) -> bool:
    return isinstance(members, list) and [_plain(bot) for bot in bots] == [_plain(each) for each in members]


def _plain(bot: Any) -> Any:
    member = _member(bot)
    reference = member["botRef"]
    return {**member, "botRef": {"name": reference} if isinstance(reference, str) else reference}


def _shortened(members: Any) -> Any:
    """Names where nothing else is said of a member."""
    return [_short(member) for member in members]


def _short(member: Any) -> Any:
    reference = member.get("botRef")
    if set(member) != {"botRef"} or not isinstance(reference, dict):
        return member
    return reference["name"] if set(reference) == {"name"} else reference


def canonical(spec: Document) -> Document:
    """`bots: [name or reference, ...]` is a team whose members work `solo` unless it says otherwise."""
    bots = spec.get("bots")
    if not isinstance(bots, list):
        return spec
    others = {name: value for name, value in spec.items() if name != "bots"}
    if "members" in spec:
        return others if _same(bots, spec["members"]) else spec
    return {"collaborationModel": "solo"} | others | {"members": [_member(bot) for bot in bots]}


KIND = Kind(
    name="Team",
    plural="teams",
    description=TeamSpec.__doc__ or "",
    spec=TeamSpec,
    refers_to=frozenset({"Bot"}),
    canonical=canonical,
    replaces=_SHORT,
    shortened=_shortened,
)
