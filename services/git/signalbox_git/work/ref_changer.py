"""Changes a branch or a tag at the remote: from what was seen there, once, and never over anything else."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from signalbox_git.command import GitFailed
from signalbox_git.commits import combining
from signalbox_git.commits.quarantine import Person, Quarantine
from signalbox_git.domain import HEADS
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.mirrors import Mirrors
from signalbox_git.mirrors.partial import files_beyond_remote
from signalbox_git.operations.record import Operation
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.remotes.remote import BranchMoved
from signalbox_git.work import operation_journal
from signalbox_git.work.operation_journal import CancelledMeanwhile, CannotOperate, OperationScene
from signalbox_git.work.ref_plans import RefPlanner

_LOOKS = 12
"""At a branch that others move, too."""
_SEEN_WITHIN = 10.0
"""Seconds for which its end waits until it can be seen here, too."""


class RefChanger:
    def __init__(self, mirrors: Mirrors, *, committer: Person, clock: Callable[[], float]) -> None:
        self._mirrors = mirrors
        self._committer = committer
        self._clock = clock

    async def change(self, scene: OperationScene, found: Operation) -> None:
        """Raises CannotOperate, CancelledMeanwhile and RemoteRefused."""
        may_arrive = found.push_begun
        """Whether an earlier try may have arrived, or be on its way: git outlives who has started it."""
        for _ in range(_LOOKS):
            await scene.job.keep()
            hear = scene.progress.of("fetch")
            async with self._mirrors.fresh(scene.source, self._clock(), hear) as mirror:
                refs = await mirror.refs()
                if found.push_begun and await self._has_arrived(mirror, found, refs):
                    await operation_journal.succeed(scene.job, found, changed=True)
                    return
                if found.cancelling:
                    raise CancelledMeanwhile
                scene.check_protected(mirror, found)
                tried = await self._try(scene, mirror, found, refs)
                if tried is None:
                    return
                found = await operation_journal.keep(scene.job, replace(tried, push_begun=may_arrive))
        raise RemoteRefused("moves", "The branch is moved by others all the time.", passes=True)

    async def _try(
        self, scene: OperationScene, mirror: Mirror, found: Operation, refs: dict[str, str]
    ) -> Operation | None:
        """None where it is done; what is made is in a quarantine until the remote has it."""
        name = str(found.ref)
        mirror.making.mkdir(exist_ok=True)
        async with Quarantine.beside(mirror.git.folder, mirror.making) as quarantine:
            complete = partial(self._mirrors.complete, scene.source, hear=scene.progress.of("fetch"))
            planner = RefPlanner(
                mirror.git, quarantine.git, found, refs, scene.head(mirror), self._committer, complete
            )
            plan = await planner.plan()
            if plan.source is not None:
                await complete(files_beyond_remote(plan.source))
            tip = refs.get(name)
            found = replace(
                found,
                source=plan.source,
                previous=tip,
                value=plan.value,
                commit=plan.commit,
                made=plan.made,
            )
            if plan.value == tip:
                await operation_journal.succeed(scene.job, found, changed=False)
                return None
            found = await operation_journal.keep(scene.job, replace(found, push_begun=True))
            async with self._mirrors.at(scene.source) as there:
                try:
                    hear = scene.progress.of("push")
                    if not await there.put_ref(quarantine.git, name, plan.value, tip, hear=hear):
                        return found
                except BranchMoved:
                    return found
        with suppress(RemoteRefused, GitFailed, TimeoutError):  # so that who looks now sees it
            async with asyncio.timeout(_SEEN_WITHIN):
                await self._mirrors.fetch(scene.source, self._clock())
        await operation_journal.succeed(scene.job, found, changed=True)
        return None

    @staticmethod
    async def _has_arrived(mirror: Mirror, found: Operation, refs: dict[str, str]) -> bool:
        """Whether it was pushed before, by a try that could not write it down, whatever has become of it."""
        tip, value = refs.get(str(found.ref)), found.value
        if tip == value:
            return True
        if value is None:
            if tip != found.previous:
                raise CannotOperate("moved", "It was made anew meanwhile.", retryable=True)
            return False
        if not await mirror.has(value):
            return False
        if found.made:  # it may be merged by now, and its branch be gone
            options = ("--count=1", "--format=%(refname)", f"--contains={value}")
            return bool((await mirror.git.run("for-each-ref", *options, HEADS)).strip())
        is_branch = found.branch is not None and tip is not None
        return is_branch and await combining.is_ancestor(mirror.git, value, str(tip))
