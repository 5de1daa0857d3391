"""`python on_taskiq.py URL COUNT`: seconds that one worker takes for so many tasks that do nothing."""

import asyncio
import sys
import time

from taskiq.api import run_receiver_task
from taskiq_nats import PullBasedJetStreamBroker


async def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
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
    for begin in range(0, count, 100):
        await asyncio.gather(*(nothing.kiq() for _ in range(min(100, count - begin))))
    broker.is_worker_process = True
    started = time.monotonic()
    receiver = asyncio.create_task(run_receiver_task(broker, max_async_tasks=100))
    await all_done.wait()
    print(time.monotonic() - started)
    receiver.cancel()
    await asyncio.wait([receiver])
    await broker.shutdown()


asyncio.run(main())
