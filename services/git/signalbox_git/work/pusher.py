"""Pushes what was committed: with a lease on what was seen, once, and never over what others have written."""

import re
from collections.abc import Callable
from dataclasses import replace

from signalbox_common.contracts.git import DeliveryState
from signalbox_git import errors
from signalbox_git.commits.moving import Movable
from signalbox_git.domain import HEADS, Delivery
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.mirrors import Mirrors
from signalbox_git.mirrors.partial import files_beyond_remote, files_of_change
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.remotes.remote import BranchMoved, Remote
from signalbox_git.work.delivery_journal import CannotDeliver, Scene, write

_LOOKS = 12
"""At a branch that others move, too."""
_NUMBERED = re.compile(r"(.*)-([2-9])")
_LAST_NUMBER = 9


class Pusher:
    def __init__(self, mirrors: Mirrors, *, clock: Callable[[], float]) -> None:
        self._mirrors = mirrors
        self._clock = clock

    async def push(self, scene: Scene, mirror: Mirror, found: Delivery, movable: Movable) -> Delivery:
        """As it is when it is there, which may be elsewhere than was asked for."""
        async with self._mirrors.at(scene.source) as there:
            if not found.push_begun and (done := await self._pushed(scene, there, mirror, found)):
                return done  # most often nobody else is there, and nothing has to be looked at
            found = replace(found, push_begun=True)
            for _ in range(_LOOKS):
                name = f"{HEADS}{found.branch}"
                tip = (await there.refs(mirror.git, name)).refs.get(name)
                if tip == found.commit or await self._has_arrived(scene, mirror, found, tip):
                    return await _arrived(scene, found)
                if tip is None or tip == found.expected:
                    found = replace(found, expected=tip)
                    if done := await self._pushed(scene, there, mirror, found):
                        return done
                    continue  # somebody was faster: it is looked at again
                found = await self._moved(scene, there, mirror, found, tip, movable)
                if found.state is DeliveryState.PUSHED:
                    return found
        raise RemoteRefused("moves", "The branch is moved by others all the time.", passes=True)

    async def _pushed(self, scene: Scene, there: Remote, mirror: Mirror, found: Delivery) -> Delivery | None:
        """None where something else is there than expected."""
        await self._mirrors.complete(scene.source, files_beyond_remote(str(found.commit)))
        found = await write(scene.job, replace(found, push_begun=True))
        try:
            await there.push(mirror.git, str(found.commit), str(found.branch), found.expected)
        except BranchMoved:
            return None
        return await _arrived(scene, found)

    async def _has_arrived(self, scene: Scene, mirror: Mirror, found: Delivery, tip: str | None) -> bool:
        """Whether it was pushed before, by a try that could not write it down, whatever has become of it."""
        if not found.push_begun or (tip is not None and tip == found.expected):
            return False
        await self._mirrors.fetch(scene.source, self._clock())
        places = _where_it_may_be(found, scene.repository.main_branch or mirror.note().get("head"))
        said = await mirror.git.run(
            "for-each-ref", "--count=1", "--format=%(refname)", f"--contains={found.commit}", *places
        )
        return bool(said.strip()) or await _was_taken(scene, found)

    async def _moved(
        self,
        scene: Scene,
        there: Remote,
        mirror: Mirror,
        found: Delivery,
        tip: str,
        movable: Movable,
    ) -> Delivery:
        """Somebody else has written there: ours goes on top of it, once, or beside it."""
        if not found.rebased:
            await there.fetch_commit(mirror.upkeep, str(found.branch))
            files = files_of_change(found.base, str(found.commit), tip)
            await self._mirrors.complete(scene.source, files)
            onto = await movable.onto(mirror.git, str(found.commit), found.base, tip)
            if onto == tip:  # all of it is there: ours from a try before, or somebody has done the same
                return await _arrived(scene, replace(found, commit=tip))
            if onto is not None:
                await self._mirrors.keep(scene.source, onto)
                return await write(
                    scene.job,
                    replace(found, commit=onto, expected=tip, rebased=True, push_begun=False),
                )
        beside = _next_name(str(found.branch))
        if beside is None:
            raise CannotDeliver(
                DeliveryState.FAILED,
                "branch_moved",
                "The branch was moved by others, and those beside it too.",
            )
        scene.check_protected(mirror, beside)
        return await write(
            scene.job, replace(found, branch=beside, expected=None, rebased=True, push_begun=False)
        )


async def _arrived(scene: Scene, found: Delivery) -> Delivery:
    """Written down whatever has become of its run meanwhile: it is done."""
    there = found.now(DeliveryState.PUSHED)
    if there.opens and scene.forge is None:
        there = replace(there, note=errors.NoForge.detail)
    return await write(scene.job, there, done=True)


def _where_it_may_be(found: Delivery, main: str | None) -> tuple[str, ...]:
    """Elsewhere it may have come otherwise: what is there is not this delivery's push."""
    target = (found.wanted.get("pull_request") or {}).get("target")
    return tuple(f"{HEADS}{branch}" for branch in (found.branch, main, target) if branch is not None)


async def _was_taken(scene: Scene, found: Delivery) -> bool:
    """Whether a pull request had it, which may be merged as another commit, and its branch be gone."""
    if scene.forge is None:
        return False
    try:
        return bool(await scene.forge.of_commit(str(found.commit)))
    except RemoteRefused as refusal:
        if refusal.passes:
            raise
        return False  # it tells us nothing: then there is none that we know of


def _next_name(branch: str) -> str | None:
    """`<branch>-2`, then 3, up to 9."""
    numbered = _NUMBERED.fullmatch(branch)
    if numbered is None:
        return f"{branch}-2"
    number = int(numbered[2]) + 1
    return f"{numbered[1]}-{number}" if number <= _LAST_NUMBER else None
