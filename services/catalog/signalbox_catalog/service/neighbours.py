"""Other namespaces, as far as they are open to the asker."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from signalbox_catalog.domain.kinds import HOME
from signalbox_catalog.domain.resources import Place
from signalbox_catalog.errors import Flawed
from signalbox_common.bus import Bus, Call
from signalbox_common.contracts.auth import Reach
from signalbox_common.contracts.roles import ProjectRole
from signalbox_manifests import Flaw

MAX_NAMESPACES = 200


@dataclass(frozen=True)
class Neighbour:
    place: Place
    role: ProjectRole


def own_place(call: Call) -> Place:
    """The one project that the grant opens."""
    principal = call.principal
    return Place(principal.project(), principal.namespace or str(principal.project_id))


class Neighbours:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def open_to(self, call: Call, namespaces: Collection[str]) -> Mapping[str, Neighbour]:
        """Those that the asker may read, by what they were called; auth is asked where it must be."""
        principal = call.principal
        found: dict[str, Neighbour] = {}
        if principal.project_id is not None and principal.project_role is not None:
            own = Neighbour(own_place(call), principal.project_role)
            found[own.place.namespace] = own
            if principal.at_home:
                found[HOME] = own
        unknown = sorted({name for name in namespaces if name} - found.keys())
        if len(unknown) > MAX_NAMESPACES:
            raise Flawed(Flaw(f"These are more than {MAX_NAMESPACES} namespaces.", "too_many", "metadata"))
        if unknown:
            question = Reach(service="catalog", proof=SecretStr(call.grant or ""), namespaces=tuple(unknown))
            for item in (await self._bus.query(question)).value().items:
                found[item.namespace] = found[item.slug] = Neighbour(
                    Place(item.project, item.slug), item.role
                )
        return found
