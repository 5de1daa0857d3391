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


_SHORT = {"bots": "members"}


def _member(bot: Any) -> Any:
    """A name, a reference, or a member already."""
    return bot if isinstance(bot, dict) and "botRef" in bot else {"botRef": bot}


def canonical(spec: Document) -> Document:
    """`bots: [name or reference, ...]` is a team whose members work `solo` unless it says otherwise."""
    bots = spec.get("bots")
    if not isinstance(bots, list) or "members" in spec:
        return spec
    others = {name: value for name, value in spec.items() if name != "bots"}
    return {"collaborationModel": "solo"} | others | {"members": [_member(bot) for bot in bots]}


KIND = Kind(
    name="Team",
    plural="teams",
    description=TeamSpec.__doc__ or "",
    spec=TeamSpec,
    refers_to=frozenset({"Bot"}),
    canonical=canonical,
    replaces=_SHORT,
)
