"""Checks the installed servers against the recorded sums.

`--record WHEEL…` writes the sums of wheels that the lock file names; `--rebuild` builds nats-server from its
source and compares every byte (needs Go and a module proxy; two minutes).
"""

import sys
from pathlib import Path

from tools.supply_chain import records
from tools.supply_chain.rebuild import rebuilt_nats_server


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--record"]:
        records.write({Path(each).name: records.of_wheel(Path(each)) for each in arguments[1:]})
        return 0
    if arguments[:1] == ["--rebuild"]:
        verdict = rebuilt_nats_server()
        print(verdict)
        return 0 if verdict.is_same else 1
    known = records.read()
    found = list(records.faults(known))
    print(*found or ["every server is as recorded, and every record as locked"], sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
