"""Roles, and which of them include which."""

from enum import StrEnum


class PlatformRole(StrEnum):
    USER = "user"
    ADMIN = "admin"


class ProjectRole(StrEnum):
    """Each role may do what those before it may."""

    VIEWER = "viewer"
    DEVELOPER = "developer"
    MAINTAINER = "maintainer"
    OWNER = "owner"

    def includes(self, other: "ProjectRole") -> bool:
        return _RANK[self] >= _RANK[other]


_RANK = {role: rank for rank, role in enumerate(ProjectRole)}
