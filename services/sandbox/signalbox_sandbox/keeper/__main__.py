"""`python -m signalbox_sandbox.keeper`: the role, with what its environment says."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from signalbox_sandbox.keeper import libc
from signalbox_sandbox.keeper.role import Base, KeeperRole

DEFAULT_UID = "64000"


WITH_PARENT = "--with-parent"


def main() -> None:
    os.umask(0o022)  # sandboxes are another user's: what they share is for all to read
    if WITH_PARENT in sys.argv:
        libc.end_with_parent(signal.SIGTERM, os.getppid())
    folder = os.environ["SIGNALBOX_SANDBOXES"]
    uid = os.environ.get("SIGNALBOX_SANDBOX_UID") or DEFAULT_UID
    made = subprocess.run(
        [sys.executable, "-m", "signalbox_sandbox.keeper.base", folder, uid],
        stdout=subprocess.PIPE,
        check=False,
    )
    if made.returncode != 0:
        sys.exit(made.returncode)
    said = json.loads(made.stdout)
    base = Base(Path(folder).resolve(), said["uid"], said["bwrap"], Path(said["etc"]))
    KeeperRole(base).serve()


if __name__ == "__main__":
    main()
