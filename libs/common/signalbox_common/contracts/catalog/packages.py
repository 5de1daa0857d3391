"""What skills carry: a ZIP with a SKILL.md."""

from typing import Annotated

from pydantic import Field, SecretStr

from signalbox_common.contracts.base import Ask, GrantScope, Message, Query, Reply
from signalbox_common.contracts.catalog.resources import Resource, ResourceName
from signalbox_common.contracts.roles import ProjectRole

MAX_PACKAGE = 10 * 1024 * 1024
"""Bytes of the ZIP."""

ObjectName = Annotated[SecretStr, Field(min_length=32, max_length=32)]
"""What the gateway has called it in the bucket of packages; nobody can guess it."""


class PackagedFile(Reply):
    path: str
    size: int
    executable: bool


class PackageInfo(Reply):
    sha256: str
    size: int
    unpacked_size: int
    file_count: int
    object: str
    """What it is called in the bucket."""
    files: tuple[PackagedFile, ...] = ()
    """Where they were asked for."""


class PackagedSkill(Message):
    """What was uploaded for one of the skills that are applied."""

    name: ResourceName
    object: ObjectName


class AttachPackage(Ask[Resource]):
    """Checks what was uploaded and makes it the skill's package; makes the skill where there is none."""

    subject = "ask.catalog.v1.attach-package"
    patience = 30.0
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "name"
    refusals = {"upload_not_found": 404, "quota_exceeded": 429}

    name: ResourceName
    object: ObjectName


class GetPackage(Query[PackageInfo]):
    subject = "qry.catalog.v1.package"
    grant = GrantScope.PROJECT
    refusals = {"resource_not_found": 404, "package_not_found": 404}

    name: ResourceName
    with_files: bool = False
