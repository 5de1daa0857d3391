"""The same change onto another commit: as a cherry-pick, without a work tree."""

from signalbox_git.command import GitDirectory
from signalbox_git.commits import combining
from signalbox_git.commits.quarantine import Authorship


async def onto(git: GitDirectory, commit: str, base: str, tip: str, authorship: Authorship) -> str | None:
    """Its id, the tip where nothing is left of it; None where that cannot be put together."""
    before, after, there = (f"{each}^{{tree}}" for each in (base, commit, tip))
    try:
        tree = await combining.applied(git, before, after, there)
    except (combining.Conflicting, combining.TooLargeToCombine):
        return None
    if tree == await git.line("rev-parse", "--verify", there):
        return tip
    return await combining.commit(git, tree, (tip,), authorship)
