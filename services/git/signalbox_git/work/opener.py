"""Opens pull requests: those that are there are found, whoever has made them and whatever became of them."""

import math
from dataclasses import replace

from signalbox_common.contracts.git import DeliveryState, WantedPullRequest
from signalbox_common.work import Worker
from signalbox_git import errors
from signalbox_git.domain import PULL_REQUEST_ENDED, Delivery, PullRequest
from signalbox_git.forges.base import MARK, Forge, PullRequestText, SeenPullRequest
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.work import delivery_journal
from signalbox_git.work.delivery_journal import Scene
from signalbox_git.work.pull_request_records import Origin, record

LONGEST_WAIT = 600.0
"""Seconds: who wants to be left alone for longer is asked again by hand."""


def may_pass(refusal: RemoteRefused) -> bool:
    """Whether it is worth waiting for."""
    return refusal.passes and (refusal.retry_after or 0.0) <= LONGEST_WAIT


def away(refusal: RemoteRefused) -> errors.RemoteAway:
    """What is tried again, after as long as the forge wants."""
    wait = math.ceil(refusal.retry_after) if refusal.retry_after is not None else None
    return errors.RemoteAway(refusal.detail, retry_after=wait)


class Opener:
    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def open(self, scene: Scene, found: Delivery) -> None:
        """Raises RemoteRefused."""
        if scene.forge is None:  # there was one when it was pushed
            await delivery_journal.write(scene.job, replace(found, note=errors.NoForge.detail), done=True)
            return
        wanted = WantedPullRequest.model_validate(found.wanted["pull_request"])
        text = PullRequestText(
            wanted.title,
            marked(wanted.body, str(found.id)),
            draft=wanted.draft,
            labels=wanted.labels,
            reviewers=wanted.reviewers,
        )
        async with scene.job.transaction() as transaction:
            await delivery_journal.check_run(transaction, found)
        await scene.job.keep()
        seen = await opened(scene.forge, str(found.branch), wanted.target, text, commit=found.commit)
        task = found.wanted.get("task")
        origin = Origin(found.created_by, found.run, task)
        async with scene.job.transaction() as transaction:
            made = await record(transaction, self._worker, scene.repository, seen, origin)
            now = found.now(DeliveryState.OPENED, pull_request=link_of(made))
            await delivery_journal.write_in(transaction, scene.job, now)


async def opened(
    forge: Forge, head: str, base: str, text: PullRequestText, *, commit: str | None = None
) -> SeenPullRequest:
    """The one that is open for these branches, or has ended with this commit; a new one where there is none.

    What it says is changed only where it is ours: others may have opened one by hand.
    """
    known = await forge.find(head, base)
    for each in known:
        if each.state not in PULL_REQUEST_ENDED:
            says_so = (each.title, each.body) == (text.title, text.body)
            if MARK not in each.body or (says_so and not text.labels and not text.reviewers):
                return each
            return await forge.update(each.number, text)
    for each in known:
        if commit is not None and each.head_commit == commit:
            return each
    return await forge.open(head, base, text)


def marked(body: str, mark: str) -> str:
    """So that it is known again as one of ours."""
    return f"{body.rstrip()}\n\n{MARK}{mark} -->".lstrip()


def mark_of(body: str) -> str | None:
    """The line by which it is known, where it has one."""
    start = body.rfind(MARK)
    return body[start:].partition("\n")[0].rstrip() if start >= 0 else None


def link_of(found: PullRequest) -> dict[str, object]:
    return {"id": str(found.id), "number": found.number, "url": found.url}
