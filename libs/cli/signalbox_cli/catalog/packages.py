"""Packages of skills: a directory becomes a ZIP, the same one whenever it is packed."""

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from signalbox_cli.catalog.errors import Mistake
from signalbox_common.contracts.catalog import MAX_PACKAGE

LEFT_OUT = frozenset({".git", "__pycache__", ".DS_Store"})
_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The first moment that a ZIP can name: when files were written would make every ZIP another one."""
_UNIX = 3
_CHUNK = 1024 * 1024
_LARGEST = 2**31 - 1
"""Bytes of a file, in a ZIP without extensions."""


def packed(path: Path) -> bytes:
    """The package in a directory, or in a ZIP that is one already."""
    try:
        content = _zipped(path) if path.is_dir() else _read(path)
    except OSError as error:
        raise Mistake(f"{error.filename or path} cannot be read: {error.strerror}") from None
    _check_size(len(content), path)
    return content


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_PACKAGE + 1)


def _zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    found = sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not found:
        raise Mistake(f"there are no files in {folder}")
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in found:
            executable = path.stat().st_mode & stat.S_IXUSR
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _BEGINNING)
            entry.create_system = _UNIX
            entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=False) as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    _check_size(buffer.tell(), folder)
    return buffer.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.name in LEFT_OUT:
                continue
            if entry.is_symlink():
                raise Mistake(f"{path} is a symbolic link; packages hold files and folders only")
            if entry.is_dir():
                yield from _files(path)
            elif entry.is_file():
                _check_size(0 if entry.stat().st_size <= _LARGEST else _LARGEST, path)
                yield path
            else:
                raise Mistake(f"{path} is neither a file nor a folder")


def _check_size(size: int, path: Path) -> None:
    if size > MAX_PACKAGE:
        raise Mistake(f"{path} is larger than {MAX_PACKAGE // 1024**2} MiB as a ZIP, which is the most")
