"""Not collected: what `test_interrupted.py` runs in a pytest of its own, and ends in the middle."""

import asyncio
import os
from pathlib import Path

from tests.support.installation import Installation
from tests.support.run import run_folder
from tests.support.services import process


async def test_that_is_interrupted(installation: Installation, tmp_path: Path) -> None:
    service = process(installation, "auth", tmp_path / "log")
    await service.start()
    folder = run_folder()
    Path(os.environ["INTERRUPTED_RUN"]).write_text(f"{os.getpid()} {folder}", encoding="utf-8")
    await asyncio.Event().wait()
