"""`python on_taskiq.py URL COUNT [singly]`: seconds that one worker takes for tasks that do nothing.

With `singly` each is put there by itself, 16 at a time, while the worker is at it.
"""

import asyncio
import sys
import time

from taskiq.api import run_receiver_task
from taskiq_nats import PullBasedJetStreamBroker


async def main() -> None:
    url, count, singly = sys.argv[1], int(sys.argv[2]), "singly" in sys.argv
    at_once = 16 if singly else 100
    broker = PullBasedJetStreamBroker(
        servers=[url],
        subject="benchothers",
        stream_name="BENCH_OTHERS",
        durable="bench-others",
        pull_consume_batch=100,
        pull_consume_timeout=1.0,
    )
    done, all_done = 0, asyncio.Event()

    @broker.task(task_name="nothing")
    async def nothing() -> None:
        nonlocal done
        done += 1
        if done == count:
            all_done.set()

    await broker.startup()

    async def put() -> None:
        for begin in range(0, count, at_once):
            await asyncio.gather(*(nothing.kiq() for _ in range(min(at_once, count - begin))))

    if not singly:
        await put()
    broker.is_worker_process = True
    started = time.monotonic()
    receiver = asyncio.create_task(run_receiver_task(broker, max_async_tasks=100))
    if singly:
        await put()
    await all_done.wait()
    print(time.monotonic() - started)
    receiver.cancel()
    await asyncio.wait([receiver])
    await broker.shutdown()


asyncio.run(main())
