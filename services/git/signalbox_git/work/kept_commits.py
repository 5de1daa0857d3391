"""Deliveries of bundles: commits that are kept as they were made, once they have been looked through."""

import asyncio
import time
from collections.abc import Iterator

from signalbox_common.contracts.git import Finding
from signalbox_git.changes import ChangeFiles
from signalbox_git.commits import findings
from signalbox_git.commits.quarantine import Quarantine
from signalbox_git.commits.series import Series, take
from signalbox_git.domain import Delivery
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.service.sources import Sources
from signalbox_git.work.admission import admitted


class KeptCommits:
    def __init__(self, sources: Sources, files: ChangeFiles) -> None:
        self._sources = sources
        self._files = files

    async def made(
        self, mirror: Mirror, found: Delivery, tree_size: int
    ) -> tuple[str | None, tuple[Finding, ...]]:
        """The newest of them, which is in the mirror then, or None where there is none; and what is noticed.

        Raises ChangesRefused, and CannotDeliver where something is noticed that is not let out.
        """
        path = self._files.path(found.project_id, found.changes)
        stored = await self._sources.tokens(found.project_id)
        mirror.making.mkdir(exist_ok=True)
        async with Quarantine.beside(mirror.git.folder, mirror.making) as quarantine:
            series = await take(quarantine.git, path, found.base)
            largest = found.policy.largest_file * findings.MIB
            workflows, others = await asyncio.to_thread(_look, series, stored, tree_size, largest)
            told = admitted(found, workflows, others)
            if not series.commits:
                return None, told
            await quarantine.accept(series.tip, found.base)
            return series.tip, told


def _look(
    series: Series, stored: list[str], tree_size: int, largest: int
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """At each commit for itself: what one brings and the next takes away leaves all the same."""
    workflows: list[Finding] = []
    others: list[Finding] = []
    ends = time.monotonic() + findings.WITHIN
    for commit, changes in zip(series.commits, series.changes, strict=True):
        within = max(0.0, ends - time.monotonic())
        noticed = (
            *findings.look(changes, stored, tree_size, largest=largest, within=within),
            *findings.in_message(commit.message, stored, within),
        )
        workflows += _of_commit(commit.id, findings.workflows(changes))
        others += _of_commit(commit.id, noticed)
    return tuple(workflows[: findings.MOST]), tuple(others[: findings.MOST])


def _of_commit(commit: str, noticed: tuple[Finding, ...]) -> Iterator[Finding]:
    for each in noticed:
        yield each.model_copy(update={"detail": f"{each.detail}, in {commit[:10]}"})
