"""What is in a repository, as it was fetched last."""

import uuid
from datetime import datetime
from enum import StrEnum

from pydantic import Field

from signalbox_common.contracts.base import GrantScope, Message, Query, Reply
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.contracts.git.base import AREA, REPOSITORY_NOT_FOUND, Revision, TreePath
from signalbox_common.contracts.paging import Cursor
from signalbox_common.contracts.roles import ProjectRole

_LISTED = REPOSITORY_NOT_FOUND | {"fetch_failed": 409, "too_much": 413}
_AT = _LISTED | {"revision_not_found": 404}
_IN_TREE = _AT | {"path_not_found": 404}
READ = "git.read"


class GitPerson(Message):
    name: str
    email: str
    at: datetime


class CommitEntry(Message):
    id: str
    parents: tuple[str, ...] = ()
    author: GitPerson
    committer: GitPerson
    subject: str
    body: str = ""
    """Cut after a few thousand characters."""


class Branch(Message):
    name: str
    commit: str
    subject: str
    committed_at: datetime
    is_default: bool = False


class BranchPage(Reply):
    items: tuple[Branch, ...]
    next_cursor: str | None = None


class ListBranches(Query[BranchPage]):
    """By name."""

    subject = "qry.git.v1.list-branches"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _LISTED

    repository: uuid.UUID
    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class Tag(Message):
    name: str
    commit: str
    subject: str
    tagged_at: datetime


class TagPage(Reply):
    items: tuple[Tag, ...]
    next_cursor: str | None = None


class ListTags(Query[TagPage]):
    """By name."""

    subject = "qry.git.v1.list-tags"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _LISTED

    repository: uuid.UUID
    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class CommitPage(Reply):
    items: tuple[CommitEntry, ...]
    next_cursor: str | None = None


class ListCommits(Query[CommitPage]):
    """Newest first; of one path, those that have changed it."""

    subject = "qry.git.v1.list-commits"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _AT

    repository: uuid.UUID
    ref: Revision | None = None
    """By default the default branch."""
    path: TreePath | None = None
    cursor: Cursor | None = None
    limit: int = Field(default=50, ge=1, le=200)


class ChangedFile(Message):
    path: str
    status: str
    """`A`, `M`, `D` or `T`, as git has them."""
    added: int | None = None
    """Lines; None of what is binary."""
    removed: int | None = None


class ShownCommit(Reply):
    commit: CommitEntry
    files: tuple[ChangedFile, ...] = ()
    complete: bool = True
    """False where there are more than are shown."""


class ShowCommit(Query[ShownCommit]):
    subject = "qry.git.v1.show-commit"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _AT

    repository: uuid.UUID
    ref: Revision | None = None


class TreeEntryType(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    SUBMODULE = "submodule"


class TreeEntry(Message):
    path: str
    """Bytes that are no text stand as `�`."""
    type: TreeEntryType
    mode: str
    id: str
    size: int | None = None


class TreeListing(Reply):
    commit: str
    items: tuple[TreeEntry, ...]
    complete: bool = True


class ListTree(Query[TreeListing]):
    """What lies in one folder."""

    subject = "qry.git.v1.list-tree"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _IN_TREE

    repository: uuid.UUID
    ref: Revision | None = None
    path: TreePath | None = None


class BlamedLines(Message):
    """Lines that follow each other and come from one commit."""

    commit: str
    author: str
    at: datetime
    subject: str
    first: int
    count: int


class Blame(Reply):
    commit: str
    items: tuple[BlamedLines, ...]


class GetBlame(Query[Blame]):
    subject = "qry.git.v1.get-blame"
    grant = GrantScope.PROJECT
    area = AREA
    refusals = _IN_TREE

    repository: uuid.UUID
    ref: Revision | None = None
    path: TreePath


class GitPlace(Reply):
    url: str
    """Of the data plane of an instance; all of them share one disk."""


class LocateGit(Query[GitPlace]):
    subject = "qry.git.v1.locate"
    grant = GrantScope.PROJECT
    area = AREA


def _reading(path: str) -> DataRoute:
    return DataRoute("GET", path, READ, least_role=ProjectRole.VIEWER, area=AREA)


READ_BLOB = _reading("/repositories/{repository}/file")
"""The bytes of one file: `?ref=&path=`."""
READ_DIFF = _reading("/repositories/{repository}/diff")
"""A unified diff: `?base=&head=&path=`; without a base that of one commit."""
