"""Tasks end, also those that lose a cancellation."""

import asyncio
import gc

import pytest

from signalbox_common import background


async def test_a_task_that_lost_a_cancellation_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "AGAIN", 0.01)
    lost = 0

    async def stubborn() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost == 3:
                    raise

    async def failed() -> None:
        raise ValueError

    tasks = [asyncio.create_task(each) for each in (stubborn(), failed())]
    await asyncio.sleep(0)
    await asyncio.wait_for(background.end(*tasks, None), 5)
    assert lost == 3
    assert tasks[0].cancelled()
    assert isinstance(tasks[1].exception(), ValueError)


async def test_nobody_hears_of_what_a_task_raised_that_was_ended() -> None:
    """asyncio would log it in the middle of something else; Python 3.11 cannot parse twice at once."""
    reports: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, report: reports.append(report))

    async def failing() -> None:
        raise ValueError

    await background.end(asyncio.create_task(failing()))
    with pytest.raises(ValueError):
        await background.until_one_ends(failing(), failing())
    gc.collect()
    assert reports == []


async def test_what_is_done_together_ends_together() -> None:
    ended: list[str] = []

    async def forever(name: str) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    async def first() -> None:
        await asyncio.sleep(0)

    async def failing() -> None:
        raise ValueError

    await background.until_one_ends(first(), forever("other"))
    await background.until_one_ends(forever("one"), within=0.01)
    with pytest.raises(ValueError):
        await background.until_one_ends(forever("beside"), failing())
    task = asyncio.create_task(background.until_one_ends(forever("a"), forever("b")))
    await asyncio.sleep(0)
    await background.end(task)
    assert task.cancelled()
    assert (ended[:3], {*ended[3:]}) == (["other", "one", "beside"], {"a", "b"})


async def test_a_cancellation_that_comes_with_what_is_waited_for_is_not_enough() -> None:
    """Why `end` is there: of Python 3.11's own `wait_for`."""
    came = asyncio.Event()
    after = asyncio.Event()

    async def wait() -> None:
        await asyncio.wait_for(came.wait(), 60)
        after.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    came.set()
    await background.end(task)
    assert task.cancelled()
