"""What sandboxes are made of, beside the host's own programs."""

import uuid
from datetime import datetime
from typing import Annotated

from pydantic import Field, StringConstraints

from signalbox_common.contracts.base import Command, Empty, GrantScope, Query, Reply, Text
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox.base import AREA, VariableName
from signalbox_common.contracts.sandbox.life import TemplateName

_UNKNOWN = {"unknown_template": 404}

Setting = Annotated[Text, StringConstraints(max_length=4000)]
Settings = Annotated[dict[VariableName, Setting], Field(max_length=50)]
Digest = Annotated[Text, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class SandboxTemplate(Reply):
    name: str
    digest: str | None = None
    """Of the recipe that it was built from, as whoever built it says."""
    env: dict[str, str] = Field(default_factory=dict)
    size_bytes: int = 0
    created_by: uuid.UUID | None = None
    """None where every node has it by itself."""
    created_at: datetime | None = None


class KeepTemplate(Command[SandboxTemplate]):
    """What a sandbox has built below its prefix becomes a template of its project; the sandbox ends."""

    subject = "cmd.sandbox.v1.keep-template"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "name"
    refusals = {
        "sandbox_not_found": 404,
        "sandbox_ended": 409,
        "superseded": 409,
        "builds_nothing": 409,
        "too_many_templates": 409,
        "template_reserved": 422,
        "quota_exceeded": 429,
    }

    sandbox: uuid.UUID
    name: TemplateName
    digest: Digest | None = None
    env: Settings = Field(default_factory=dict)


class SandboxTemplates(Reply):
    items: tuple[SandboxTemplate, ...]


class ListTemplates(Query[SandboxTemplates]):
    """By name; `base` is always there."""

    subject = "qry.sandbox.v1.list-templates"
    grant = GrantScope.PROJECT
    area = AREA


class GetTemplate(Query[SandboxTemplate]):
    subject = "qry.sandbox.v1.get-template"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _UNKNOWN

    name: TemplateName


class DeleteTemplate(Command[Empty]):
    """Sandboxes that were made of it go on."""

    subject = "cmd.sandbox.v1.delete-template"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    area = AREA
    target = "name"
    refusals = _UNKNOWN | {"template_reserved": 422}

    name: TemplateName
