"""`python on_procrastinate.py URL COUNT [singly]`: seconds that one worker takes for jobs that do nothing.

With `singly` each is put there by itself, 16 at a time, while the worker is at it.
"""

import asyncio
import sys
import time

from procrastinate import App, PsycopgConnector


async def main() -> None:
    url, count, singly = sys.argv[1], int(sys.argv[2]), "singly" in sys.argv
    turn = asyncio.Semaphore(16)
    app = App(connector=PsycopgConnector(conninfo=url, min_size=4, max_size=20))
    done, all_done = 0, asyncio.Event()

    @app.task(name="nothing", queue="bench")
    async def nothing() -> None:
        nonlocal done
        done += 1
        if done == count:
            all_done.set()

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        if not singly:
            await nothing.batch_defer_async(*[{} for _ in range(count)])
        started = time.monotonic()
        worker = asyncio.create_task(
            app.run_worker_async(
                queues=["bench"], concurrency=100, delete_jobs="successful", install_signal_handlers=False
            )
        )
        if singly:

            async def put() -> None:
                async with turn:
                    await nothing.defer_async()

            await asyncio.gather(*(put() for _ in range(count)))
        await all_done.wait()
        print(time.monotonic() - started)
        worker.cancel()
        await asyncio.wait([worker])


asyncio.run(main())
