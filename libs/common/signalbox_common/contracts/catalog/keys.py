"""The keys of resources, for the one service that needs them."""

import uuid
from typing import Annotated, Any

from pydantic import Field, Secret, StringConstraints

from signalbox_common.contracts.auth import Namespace
from signalbox_common.contracts.base import Ask, GrantScope, Reply, Text
from signalbox_common.contracts.catalog.resources import ResourceKey
from signalbox_common.contracts.roles import ProjectRole

Pointer = Annotated[Text, StringConstraints(min_length=1, max_length=1000, pattern=r"^/")]


class RevealedKeys(Reply):
    """The keys as they are now."""

    values: Secret[dict[str, Any]]
    """By pointer into the spec."""


class RevealKeys(ResourceKey, Ask[RevealedKeys]):
    """What stands behind `***` in a spec; each time it is asked, it is answered and written down."""

    subject = "ask.catalog.v1.reveal"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    caller = "tasks"
    once = False
    target = "about"
    refusals = {"kind_not_found": 404, "resource_not_found": 404, "key_not_found": 404}

    namespace: Namespace
    """That of the resource: in another project than the grant's the person must be developer, too."""
    uid: uuid.UUID
    """Which one of that name: another that took its place is not meant."""
    pointers: Annotated[tuple[Pointer, ...], Field(min_length=1, max_length=50)]
