"""`python on_dbos.py URL COUNT`: seconds that one process takes for so many workflows that do nothing."""

import sys
import time

from dbos import DBOS, DBOSConfig, Queue


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    config: DBOSConfig = {
        "name": "bench-others",
        "system_database_url": url,
        "log_level": "WARNING",
        "run_admin_server": False,
    }
    DBOS(config=config)
    queue = Queue("bench", polling_interval_sec=0.1)

    @DBOS.workflow()
    def nothing() -> None:
        return None

    DBOS.launch()
    DBOS.listen_queues([])
    handles = [queue.enqueue(nothing) for _ in range(count)]
    started = time.monotonic()
    for handle in handles:
        handle.get_result(polling_interval_sec=0.01)
    print(time.monotonic() - started)
    DBOS.destroy()


main()
