"""Commits that were made inside: as a bundle in git, which takes it as hostile."""

import uuid
from tempfile import SpooledTemporaryFile
from typing import IO

from signalbox_common.contracts import git, sandbox
from signalbox_tasks.work.log import RunLog
from signalbox_tasks.work.refusals import understood
from signalbox_tasks.work.steps.delivery import author_of, message_of
from signalbox_tasks.work.steps.programs import ended, how
from signalbox_tasks.work.steps.spooling import IN_MEMORY, spool, spooled_pieces
from signalbox_tasks.work.turn import StepFailed, Turn

_BUNDLE = "/tmp/signalbox.bundle"  # noqa: S108 - of a sandbox, which has it for itself
# What nobody has committed becomes the last one; without any, there is no bundle.
_SCRIPT = """
set -eu
git add -A
git diff --cached --quiet || git commit -q --no-verify --no-gpg-sign -m "$MESSAGE"
rm -f "$BUNDLE"
: > "$BUNDLE"
[ "$(git rev-parse HEAD)" = "$BASE" ] || git bundle create -q "$BUNDLE" "$BASE..HEAD"
"""


async def bundled(turn: Turn, log: RunLog) -> str | None:
    """The digest of what git has of them; None where nothing was committed, and nothing is left to be."""
    author = author_of(turn.run)
    program = sandbox.Program(
        argv=("/bin/sh", "-c", _SCRIPT),
        env={
            "MESSAGE": message_of(turn.task, turn.run.wish.message),
            "BUNDLE": _BUNDLE,
            "BASE": turn.run.facts["commit"],
            **{f"GIT_{who}_NAME": author.name for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": author.email for who in ("AUTHOR", "COMMITTER")},
        },
        hold=True,
    )
    end = await ended(turn, log, "commits", program)
    if end.get("exitCode") != 0:
        raise StepFailed("commits_failed", f"Its commits could not be taken: {how(end)}.")
    await turn.job.keep()
    with understood(), SpooledTemporaryFile(IN_MEMORY) as spooled:
        return await _moved(turn, spooled)


async def _moved(turn: Turn, spooled: IO[bytes]) -> str | None:
    """Out of the sandbox, into git."""
    identifier = turn.run.facts["sandbox"]
    async with turn.peers.sandbox(uuid.UUID(identifier)) as client:
        digest, size = await spool(client.read(sandbox.READ_FILE, sandbox=identifier, path=_BUNDLE), spooled)
    if not size:
        return None
    await turn.job.keep()
    async with turn.peers.git() as client:
        await client.write(git.PUT_BUNDLE, lambda: spooled_pieces(spooled), sha256=digest)
    return digest
