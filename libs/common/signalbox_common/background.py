"""Tasks that run until they are told to end."""

import asyncio
from collections.abc import Coroutine
from typing import Any

AGAIN = 1.0
"""Seconds after which a task that goes on is told again."""


async def end(*tasks: "asyncio.Task[Any] | None") -> None:
    """Returns when all of them are done, whatever became of them: nobody is told of what they raised.

    Once may not be enough: what `asyncio.wait_for` waits for can come in the same moment, and Python 3.11
    then forgets that the task was cancelled; nats-py makes a timeout of it.
    """
    left = {task for task in tasks if task is not None and not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN)
    for ended in tasks:
        if ended is not None and not ended.cancelled():
            ended.exception()  # asyncio would log what nobody has looked at, while something else runs


async def until_one_ends(*work: Coroutine[Any, Any, None], within: float | None = None) -> None:
    """Does them together until the first ends, or the time is over; raises what that one raised.

    Returns when all of them have ended.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done:
                task.result()
    finally:
        await end(*tasks)
