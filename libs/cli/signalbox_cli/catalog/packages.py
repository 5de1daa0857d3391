"""Packages of skills: a directory becomes a ZIP, the same one whenever it is packed."""

import io
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.sources import SkillFolder
from signalbox_common.contracts.catalog import MAX_BUNDLE, MAX_PACKAGE, MAX_PACKAGES

LEFT_OUT = frozenset({".git", "__pycache__", ".DS_Store"})
_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The first moment that a ZIP can name: when files were written would make every ZIP another one."""
_UNIX = 3
_CHUNK = 1024 * 1024
MOST_FILES, MOST_BYTES, DEEPEST = 1000, 64 * 1024 * 1024, 16
"""What a package may hold, before it is packed."""


def packed(path: Path) -> bytes:
    """The package in a directory, or in a ZIP that is one already."""
    try:
        content = _zipped(path) if path.is_dir() else _read(path)
    except OSError as error:
        raise Mistake(f"{error.filename or path} cannot be read: {error.strerror}") from None
    _check_size(len(content), path)
    return content


def by_name(folders: Sequence[SkillFolder]) -> dict[str, bytes]:
    """The packages of folders, by the names of their skills."""
    paths: dict[str, Path] = {}
    for folder in folders:
        if folder.name in paths:
            raise Mistake(f"{paths[folder.name]} and {folder.path} are called the same, as skills are not")
        paths[folder.name] = folder.path
    if len(paths) > MAX_PACKAGES:
        raise Mistake(f"these are more than {MAX_PACKAGES} skills, which is the most at once")
    return {name: packed(path) for name, path in paths.items()}


def archived(documents: str, packages: Mapping[str, bytes]) -> bytes:
    """Documents and packages in one file, as they are applied together."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("documents.yaml", _BEGINNING), documents)
        for name, content in packages.items():
            archive.writestr(zipfile.ZipInfo(f"packages/{name}.zip", _BEGINNING), content)
    if buffer.tell() > MAX_BUNDLE:
        raise Mistake(
            f"documents and skills have {buffer.tell():,} bytes together, and {MAX_BUNDLE:,} is the most at "
            "once: apply them in parts"
        )
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_PACKAGE + 1)


def _zipped(folder: Path) -> bytes:
    buffer = io.BytesIO()
    found = sorted(_counted(folder), key=lambda path: path.relative_to(folder).as_posix())
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


def _counted(folder: Path) -> Iterator[Path]:
    size = 0
    for number, path in enumerate(_files(folder, 1), 1):
        size += path.stat().st_size
        if number > MOST_FILES:
            raise Mistake(f"{folder} holds more than {MOST_FILES} files, which is the most")
        if size > MOST_BYTES:
            raise Mistake(f"{folder} is larger than {MOST_BYTES // 1024**2} MiB, which is the most")
        yield path


def _files(folder: Path, depth: int) -> Iterator[Path]:
    if depth > DEEPEST:
        raise Mistake(f"{folder} lies more than {DEEPEST} folders deep, which is the most")
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.path)
            if entry.name in LEFT_OUT:
                continue
            if entry.is_symlink():
                raise Mistake(f"{path} is a symbolic link; packages hold files and folders only")
            if entry.is_dir():
                yield from _files(path, depth + 1)
            elif entry.is_file():
                yield path
            else:
                raise Mistake(f"{path} is neither a file nor a folder")


def _check_size(size: int, path: Path) -> None:
    if size > MAX_PACKAGE:
        raise Mistake(f"{path} is larger than {MAX_PACKAGE // 1024**2} MiB as a ZIP, which is the most")
