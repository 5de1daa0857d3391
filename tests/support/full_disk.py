"""A lab service whose disk is small: `python -m tests.support.full_disk FOLDER`.

FOLDER/disk is a file system of its own, which this process alone sees, and FOLDER/data.sock its data plane.
"""

import ctypes
import os
import sys
from pathlib import Path

from signalbox_common.runtime import Service, run
from tests.support.bytes_lab import BytesLab
from tests.support.lab import LabSettings
from tests.support.works import Workshop, World

SIZE = 64 * 1024 * 1024
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000


def mount(folder: Path) -> None:
    """As nobody needs to be root for: in a user namespace of one's own."""
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if getattr(libc, name)(*arguments) != 0:
            raise OSError(ctypes.get_errno(), name)

    call("unshare", _NEW_USER | _NEW_MOUNTS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    call("mount", b"small", str(folder).encode(), b"tmpfs", 0, f"size={SIZE}".encode())


def main() -> None:
    folder = Path(sys.argv[1])
    disk = folder / "disk"
    mount(disk)

    def build() -> Service:
        app = Workshop(World(disk / "world")).service(
            LabSettings(data_listen=f"unix:{folder / 'data.sock'}", disk_path=disk)
        )
        lab = BytesLab(disk / "files")
        lab.folder.mkdir()
        lab.register(app.data)
        return app

    run(build)


if __name__ == "__main__":
    main()
