"""Folders however deep: what the standard library has for them goes one call deeper for each, and not far."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_DEEPEST = 200


def files_below(folder: Path) -> Iterator[Path]:
    """What is no folder; what goes meanwhile is left out."""
    waiting = [str(folder)]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield Path(entry.path)


def remove(folder: Path) -> None:
    """With all in it, as far as that can be; what lies very deep is moved up first."""
    waiting = [(str(folder), 0)]
    while waiting:
        place, depth = waiting.pop()
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    continue
                there = entry.path
                if depth >= _DEEPEST:
                    there = str(folder / uuid.uuid4().hex)
                    os.rename(entry.path, there)  # noqa: PTH104 - many
                waiting.append((there, 0 if depth >= _DEEPEST else depth + 1))
    shutil.rmtree(folder, ignore_errors=True)
