"""Which namespaces the asker may read, and with which role."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from signalbox_catalog.domain.kinds import HOME
from signalbox_catalog.domain.resources import Place
from signalbox_catalog.errors import BadInput
from signalbox_common.bus import Bus, Call
from signalbox_common.contracts.auth import GetNamespaces
from signalbox_common.contracts.roles import ProjectRole
from signalbox_manifests import Flaw

MAX_NAMESPACES = 200


@dataclass(frozen=True)
class Access:
    """What the asker may do in one namespace."""

    place: Place
    role: ProjectRole


def own_place(call: Call) -> Place:
    """The one project that the grant opens."""
    principal = call.principal
    return Place(principal.project(), principal.namespace or str(principal.project_id))


class AccessResolver:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def resolve(
        self, call: Call, namespaces: Collection[str], *, reading: bool = False
    ) -> Mapping[str, Access]:
        """Those that the asker may read, by what they were called; auth is asked where it must be.

        A delegation is for one project: in others it reads as far as its person may, and writes nothing.
        """
        principal = call.principal
        found: dict[str, Access] = {}
        if principal.project_id is not None and principal.project_role is not None:
            own = Access(own_place(call), principal.project_role)
            found[own.place.namespace] = own
            if principal.at_home:
                found[HOME] = own
        unknown = sorted({name for name in namespaces if name} - found.keys())
        if len(unknown) > MAX_NAMESPACES:
            raise BadInput(Flaw(f"These are more than {MAX_NAMESPACES} namespaces.", "too_many", "metadata"))
        if unknown and (reading or principal.delegation_id is None):
            question = GetNamespaces(
                service="catalog", proof=SecretStr(call.grant or ""), namespaces=tuple(unknown)
            )
            for item in (await self._bus.query(question)).value().items:
                found[item.namespace] = found[item.slug] = Access(Place(item.project, item.slug), item.role)
        return found
