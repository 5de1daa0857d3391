"""Disks that are small: file systems of their own, which only some processes see.

`python -m tests.support.small_disk FOLDER MEBIBYTES -- PROGRAM ARGUMENTS…` starts one that has it there.
"""

import ctypes
import os
import sys
from pathlib import Path

MIB = 1024 * 1024
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_ALL_BELOW, _PRIVATE = 0x4000, 0x40000


def mount(folder: Path, size: int) -> None:
    """As nobody needs to be root for, in a user namespace of one's own; there we are root."""
    uid, gid = os.getuid(), os.getgid()
    _call("unshare", _NEW_USER | _NEW_MOUNTS)
    _map(f"0 {uid} 1", f"0 {gid} 1")
    _mount(folder, size)


def mount_as_we_are(folder: Path, size: int) -> None:
    """The same, and we stay who we are: root needs the right to mount for that."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        _call("unshare", _NEW_MOUNTS)
        _call("mount", b"none", b"/", 0, _ALL_BELOW | _PRIVATE, 0)
    else:
        _call("unshare", _NEW_USER | _NEW_MOUNTS)
        _map(f"{uid} {uid} 1", f"{gid} {gid} 1")
    _mount(folder, size)


def _map(users: str, groups: str) -> None:
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(users)
    Path("/proc/self/gid_map").write_text(groups)


def _mount(folder: Path, size: int) -> None:
    _call("mount", b"small", str(folder).encode(), b"tmpfs", 0, f"size={size},mode=0755".encode())


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def main() -> None:
    folder, size, _, *program = sys.argv[1:]
    mount_as_we_are(Path(folder), int(size) * MIB)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
