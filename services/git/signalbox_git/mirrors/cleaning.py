"""Makes a mirror smaller: what nobody needs goes, and the rest is packed together."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

from signalbox_git.mirrors import locks
from signalbox_git.mirrors.mirror import OWN, Mirror, kept_ref
from signalbox_git.mirrors.mirrors import Mirrors

_WITHIN = 1800.0
_GRACE = "1.day.ago"
"""What is newer may be about to be used by whoever has made or fetched it."""
_FRUGAL = (("pack.threads", "1"), ("pack.windowMemory", "256m"), ("core.bigFileThreshold", "32m"))
"""Whatever is in a repository, packing it takes no more of the machine than this."""

Needed = Callable[[], Awaitable[Collection[str]]]
"""Commits that have to stay, whatever the remote does."""


async def cleaned(
    mirrors: Mirrors, mirror: Mirror, needed: Needed, *, wait: bool = True
) -> tuple[int, int] | None:
    """Its size before and after; None where there is nothing here. Readers go on meanwhile.

    Raises Held where somebody else changes it, and is not waited for.
    """
    async with mirrors.alone_in(mirror, wait=wait) as alone:
        if not mirror.is_there:
            return None
        before = await asyncio.to_thread(mirror.size)
        await _let_go(mirror, needed, alone)
        async with locks.locked(mirror.in_use, alone=False) as used:
            git = replace(mirror.upkeep, inherits=(alone, used))
            mirror.remove_leftovers()
            await git.run("pack-refs", "--all", within=_WITHIN)
            options = ("-d", "--cruft", f"--cruft-expiration={_GRACE}", "--quiet")
            await git.run("repack", *options, config=_FRUGAL, within=_WITHIN)
            await git.run("prune", f"--expire={_GRACE}", within=_WITHIN)
            after = await asyncio.to_thread(mirror.size)
            mirror.write_note(**mirror.note() | {"size": after, "cleaned": time.time()})
        return before, after


async def _let_go(mirror: Mirror, needed: Needed, alone: int) -> None:
    """Of commits kept for nobody any more; not while somebody is here, who may be about to need one."""
    try:
        async with locks.locked(mirror.in_use, alone=True, wait=False) as used:
            wanted = {kept_ref(commit) for commit in await needed()}
            said = await mirror.git.run("for-each-ref", "--format=%(refname)", OWN)
            gone = [name for name in said.decode("ascii").split() if name not in wanted]
            git = replace(mirror.git, inherits=(alone, used))
            lines = "".join(f"delete {name}\n" for name in gone)
            if lines:
                await git.run("update-ref", "--stdin", given=lines.encode("ascii"))
    except locks.Held:
        return
