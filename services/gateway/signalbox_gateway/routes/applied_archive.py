"""Documents and the packages of skills in one ZIP: `documents.yaml`, and `packages/NAME.zip` for each skill.

Nothing in it is compressed, so that nothing grows: packages are ZIPs already.
"""

import io
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

from signalbox_common.contracts.catalog import MAX_PACKAGE, MAX_PACKAGES, MAX_TEXT
from signalbox_gateway.errors import BadApplyArchive

DOCUMENTS = "documents.yaml"
_PACKAGE = re.compile(r"packages/(?P<name>[^/\\\0]{1,100})\.zip")
_END = struct.Struct("<4s4H2LH")
_LARGEST_DIRECTORY = (MAX_PACKAGES + 1) * 1024
"""Bytes of the table of contents: it is read as a whole before anything else is known."""


@dataclass(frozen=True)
class AppliedArchive:
    documents: bytes
    packages: Mapping[str, bytes]


def opened(body: bytes) -> AppliedArchive:
    """Raises BadApplyArchive for whatever is not as it is written here."""
    _check_end(body)
    documents = b""
    packages: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            found = archive.infolist()
            _check_entries(found, len(body))
            for entry in found:
                name = _PACKAGE.fullmatch(entry.filename)
                if name is None:
                    documents = archive.read(entry)
                else:
                    packages[name["name"]] = archive.read(entry)
    except (zipfile.BadZipFile, NotImplementedError, OSError, RuntimeError, ValueError) as error:
        raise BadApplyArchive("This is no ZIP.") from error
    return AppliedArchive(documents, packages)


def _check_end(body: bytes) -> None:
    """Before the table of contents is read, of which a small file can have a very large one."""
    at = len(body) - _END.size
    if at < 0 or not body.startswith(b"PK\x05\x06", at) or body.startswith(b"PK\x06\x07", at - 20):
        raise BadApplyArchive("This is no ZIP, or one with a comment.")
    if _END.unpack_from(body, at)[5] > _LARGEST_DIRECTORY:
        raise BadApplyArchive(f"There are more than {MAX_PACKAGES} packages in it.")


def _check_entries(found: list[zipfile.ZipInfo], size: int) -> None:
    names = [entry.filename for entry in found]
    if len(set(names)) < len(names):
        raise BadApplyArchive("Two entries have the same name.")
    if len(found) > MAX_PACKAGES + 1:
        raise BadApplyArchive(f"There are more than {MAX_PACKAGES} packages in it.")
    for entry in found:
        most = MAX_TEXT if entry.filename == DOCUMENTS else MAX_PACKAGE
        if entry.filename != DOCUMENTS and not _PACKAGE.fullmatch(entry.filename):
            raise BadApplyArchive(f"It holds {DOCUMENTS} and packages/NAME.zip, and nothing else.")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
            raise BadApplyArchive("Its entries are stored, not compressed.")
        if entry.file_size > most:
            raise BadApplyArchive(f"{entry.filename} has more than {most} bytes.")
    if sum(entry.file_size for entry in found) > size:
        raise BadApplyArchive("Its entries lie over each other.")
