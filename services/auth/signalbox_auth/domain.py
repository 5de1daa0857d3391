"""Users, projects and the rules about their names."""

import re
import unicodedata
import uuid
from dataclasses import dataclass
from datetime import datetime

from signalbox_common.contracts.auth import PlatformRole, ProjectRole

RESERVED_SLUGS = frozenset({"default"})
SLUG_LENGTH = 63
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


class DomainError(Exception):
    """A rule of this service says no."""


class UsernameTaken(DomainError):
    pass


class EmailTaken(DomainError):
    pass


class BadCredentials(DomainError):
    pass


class SlugTaken(DomainError):
    pass


class SlugReserved(DomainError):
    pass


class NoSuchUser(DomainError):
    pass


class NoSuchProject(DomainError):
    pass


class BadCursor(DomainError):
    pass


@dataclass(frozen=True)
class User:
    id: uuid.UUID
    username: str
    email: str
    display_name: str
    role: PlatformRole
    created_at: datetime


@dataclass(frozen=True)
class Project:
    id: uuid.UUID
    name: str
    slug: str
    description: str
    role: ProjectRole
    created_at: datetime
    updated_at: datetime


def folded(name: str) -> str:
    """How names are compared: without regard to case and compatibility forms."""
    return unicodedata.normalize("NFKC", name).casefold()


def slug_of(name: str) -> str:
    """A slug derived from a name; `project` where nothing of the name can be part of one."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = _NOT_SLUG.sub("-", ascii_name).strip("-")[:SLUG_LENGTH].strip("-")
    return "project" if not slug or slug in RESERVED_SLUGS else slug


def suffixed(slug: str, suffix: str) -> str:
    """The slug with a suffix that makes it unique, within the allowed length."""
    return f"{slug[: SLUG_LENGTH - len(suffix) - 1].rstrip('-')}-{suffix}"


def checked_slug(slug: str) -> str:
    if slug in RESERVED_SLUGS:
        raise SlugReserved
    return slug
