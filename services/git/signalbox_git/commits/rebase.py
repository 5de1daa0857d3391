"""The same change onto another commit: as a cherry-pick, without a work tree."""

from signalbox_git.command import GitDirectory, GitFailed
from signalbox_git.commits.combining import MEMORY, NO_MEMORY
from signalbox_git.commits.quarantine import Authorship

_NOBODY = {
    "GIT_AUTHOR_NAME": "nobody",
    "GIT_AUTHOR_EMAIL": "nobody@signalbox.invalid",
    "GIT_AUTHOR_DATE": "1000000000 +0000",
    "GIT_COMMITTER_NAME": "nobody",
    "GIT_COMMITTER_EMAIL": "nobody@signalbox.invalid",
    "GIT_COMMITTER_DATE": "1000000000 +0000",
}
_CONFLICT = 1


async def onto(git: GitDirectory, commit: str, base: str, tip: str, authorship: Authorship) -> str | None:
    """Its id, the tip where nothing is left of it; None where that cannot be put together."""
    # A commit with the tree of the tip and our base as its parent: so that base is where the two have parted.
    made = await git.run("commit-tree", f"{tip}^{{tree}}", "-p", base, "-m", "tip", env=_NOBODY)
    apart = made.decode("ascii").strip()
    try:
        said = await git.run("merge-tree", "--write-tree", "--no-messages", apart, commit, limits=MEMORY)
        tree = said.decode("ascii").strip()
    except GitFailed as error:
        if error.status == _CONFLICT or NO_MEMORY in error.complaint.lower():
            return None
        raise
    if tree == await git.line("rev-parse", "--verify", f"{tip}^{{tree}}"):
        return tip
    message = authorship.message.replace("\0", "").encode("utf-8", "replace")
    env = authorship.environment()
    said = await git.run("commit-tree", tree, "-p", tip, "-F", "-", given=message, env=env)
    return said.decode("ascii").strip()
