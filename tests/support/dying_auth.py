"""The auth service with one thing added: it kills itself at a named step, once.

`python -m tests.support.dying_auth STEP ARMED` dies by SIGKILL when a request reaches STEP while the file
ARMED is there, and takes the file along.
"""

import os
import signal
import sys
from pathlib import Path

from signalbox_auth.app import build
from signalbox_auth.settings import AuthSettings
from signalbox_common.runtime import run


def main() -> None:
    step, armed = sys.argv[1], Path(sys.argv[2])

    async def checkpoint(reached: str) -> None:
        if reached == step and armed.exists():
            armed.unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    run(lambda: build(AuthSettings(), checkpoint=checkpoint))


if __name__ == "__main__":
    main()
