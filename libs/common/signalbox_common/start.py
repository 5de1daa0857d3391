"""Runs a program of ours: `python -m signalbox_common.start signalbox_tasks.app`.

What it imports stays for as long as it runs, so nobody looks for garbage among that: neither meanwhile,
which takes away a third of the time to start, nor ever after. Among the rest, what is old is looked at a
tenth as often as is usual: with ten thousand connections, each look keeps all waiting for half a second.
"""

import gc
import importlib
import sys
from types import ModuleType


def run(program: ModuleType) -> None:
    """Runs what is imported already, with the garbage collection that suits it."""
    gc.freeze()
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, 100)
    gc.enable()
    program.main()


def main() -> None:
    gc.disable()
    run(importlib.import_module(sys.argv[1]))


if __name__ == "__main__":
    main()
