"""`python on_dbos.py URL COUNT [singly]`: seconds that one process takes for workflows that do nothing.

They are enqueued by a process of its own, which listens to no queue; with `singly`, by this one.
"""

import subprocess
import sys
import threading
import time

from dbos import DBOS, DBOSConfig

QUEUE = "bench"


def main() -> None:
    url, count, role = sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else "work"
    if role == "work":
        subprocess.run([sys.executable, __file__, url, str(count), "put"], check=True)
    config: DBOSConfig = {
        "name": "bench-others",
        "system_database_url": url,
        "log_level": "WARNING",
        "run_admin_server": False,
        "application_version": "1",
    }
    DBOS(config=config)
    done, all_done = 0, threading.Event()

    @DBOS.workflow()
    async def nothing() -> None:
        nonlocal done
        done += 1
        if done == count:
            all_done.set()

    if role == "put":
        DBOS.listen_queues(["none"])
    started = time.monotonic()
    DBOS.launch()
    queue = DBOS.register_queue(QUEUE, polling_interval_sec=0.05)
    if role == "put":
        for _ in range(count):
            queue.enqueue(nothing)
    else:
        if role == "singly":
            started = time.monotonic()
            for _ in range(count):
                queue.enqueue(nothing)
        all_done.wait()
        print(time.monotonic() - started)
    DBOS.destroy()


main()
