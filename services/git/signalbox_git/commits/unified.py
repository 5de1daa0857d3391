"""A unified diff of two trees, for people: as much of it as somebody may want to read."""

import asyncio
import resource
import signal
import tempfile

from signalbox_git.command import GitDirectory, GitFailed

LARGEST = 2 * 1024 * 1024
CUT = b"\n# The diff goes on: only its first %d KiB are shown.\n"
_WITHIN = 30.0
_OPTIONS = ("--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", "--patch", "-r")
_BOUNDS = (("core.bigFileThreshold", "16m"), ("diff.renameLimit", "1000"))
"""What is larger is named as binary files are."""


async def diff(git: GitDirectory, base: str, head: str, *, largest: int = LARGEST) -> bytes:
    """Cut at the end of a line, which is then said; raises TookTooLong."""
    with tempfile.TemporaryFile() as file:
        try:
            await git.run(
                "diff-tree",
                *(*_OPTIONS, base, head, "--"),
                config=_BOUNDS,
                into=file,
                limits={resource.RLIMIT_FSIZE: largest + 1},
                within=_WITHIN,
            )
        except GitFailed as error:
            if error.status != -signal.SIGXFSZ:
                raise
        file.seek(0)
        found = await asyncio.to_thread(file.read, largest + 1)
    if len(found) <= largest:
        return found
    return found[:largest].rpartition(b"\n")[0] + CUT % (largest // 1024)
