"""Files of sandboxes."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from signalbox_common.contracts.base import Message, Reply, Text
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.sandbox.base import data_route

FilePath = Annotated[Text, StringConstraints(min_length=1, max_length=4000)]


class FileType(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


class FileEntry(Reply):
    path: str
    """As it was asked for, or beneath what was; bytes that are no text stand as `�`."""
    path_base64: str | None = None
    """Its bytes, where they are no text."""
    type: FileType
    size: int
    mode: str
    """As four octal digits."""
    modified_at: datetime
    target: str | None = None
    """Of a link."""


class FileList(Reply):
    items: tuple[FileEntry, ...]
    complete: bool
    """False where there is more than is listed at a time."""


class NewFolder(Message):
    path: FilePath
    parents: bool = False
    """Also what it lies in; then it may be there already."""


class MoveFile(Message):
    path: FilePath
    to: FilePath
    replace: bool = False


FILES = "sandbox.files"
_FILES = "/sandboxes/{sandbox}/files"
READ_FILE = data_route("GET", _FILES, FILES, ProjectRole.VIEWER)
WRITE_FILE = data_route("PUT", _FILES, FILES)
REMOVE_FILE = data_route("DELETE", _FILES, FILES)
LIST_FILES = data_route("GET", "/sandboxes/{sandbox}/list", FILES, ProjectRole.VIEWER)
STAT_FILE = data_route("GET", "/sandboxes/{sandbox}/stat", FILES, ProjectRole.VIEWER)
MAKE_FOLDER = data_route("POST", "/sandboxes/{sandbox}/folders", FILES)
MOVE_FILE = data_route("POST", "/sandboxes/{sandbox}/moves", FILES)
