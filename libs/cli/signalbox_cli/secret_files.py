"""Files that only their owner reads; nothing is imported for it, so that commands are quick."""

import os
from pathlib import Path


def write_secret(path: Path, text: str, mode: int = 0o600) -> None:
    """Replaces the file at once, readable by its owner only; leaves it alone where nothing changed."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=folder_mode(mode))
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    draft = path.with_name(f".{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    draft.replace(path)


def folder_mode(mode: int) -> int:
    """Whoever may read a file may enter its folder."""
    return mode | ((mode & 0o444) >> 2)
