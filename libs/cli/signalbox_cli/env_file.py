"""The file `.env` of the folder where a stack is started, as docker compose reads it."""

import os
from pathlib import Path


def read_env_file(folder: Path | None = None) -> None:
    """What the environment says already stays."""
    path = (folder or Path()) / ".env"
    if not path.is_file():
        return
    from dotenv import dotenv_values

    for name, value in dotenv_values(path).items():
        if value is not None:
            os.environ.setdefault(name, value)
