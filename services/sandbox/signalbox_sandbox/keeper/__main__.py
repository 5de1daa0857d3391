"""`python -m signalbox_sandbox.keeper`: the role, with what its environment says."""

import json
import os
import subprocess
import sys
from pathlib import Path

from signalbox_sandbox.keeper.role import Base, KeeperRole

DEFAULT_UID = "64000"


def main() -> None:
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
