"""What programs inside may not ask of the kernel: data, and the filter that is made of it.

Whatever is not named here is allowed: what it reaches is confined by namespaces, the missing capabilities and
the read-only root. Named is what reaches past those, or into parts of the kernel that were often a way out.
"""

import errno
import os
import struct
from typing import NamedTuple


class Denied(NamedTuple):
    """One system call, by its number on each architecture (None where there is none)."""

    name: str
    x86_64: int | None
    aarch64: int | None
    why: str
    error: int = errno.EPERM


_MOUNTS = "changes what is mounted"
_MODULES = "loads code into the kernel"
_TIME = "the clock is everybody's"
_KEYS = "keyrings are not confined by namespaces"
_URING = "does other calls past this filter, and has often been a way out"

DENIED = (
    Denied("mount", 165, 40, _MOUNTS),
    Denied("umount2", 166, 39, _MOUNTS),
    Denied("pivot_root", 155, 41, _MOUNTS),
    Denied("chroot", 161, 51, _MOUNTS),
    Denied("open_tree", 428, 428, _MOUNTS),
    Denied("move_mount", 429, 429, _MOUNTS),
    Denied("fsopen", 430, 430, _MOUNTS),
    Denied("fsconfig", 431, 431, _MOUNTS),
    Denied("fsmount", 432, 432, _MOUNTS),
    Denied("fspick", 433, 433, _MOUNTS),
    Denied("mount_setattr", 442, 442, _MOUNTS),
    Denied("unshare", 272, 97, "a namespace of one's own brings capabilities in it"),
    Denied("setns", 308, 268, "as above, of another one"),
    Denied(
        "clone3",
        435,
        435,
        "its flags lie in memory, where a filter cannot look; `clone` is tried",
        errno.ENOSYS,
    ),
    Denied("bpf", 321, 280, "programs in the kernel"),
    Denied("perf_event_open", 298, 241, "measures others through the processor"),
    Denied("userfaultfd", 323, 282, "holds the kernel in the middle of a copy"),
    Denied("io_uring_setup", 425, 425, _URING),
    Denied("io_uring_enter", 426, 426, _URING),
    Denied("io_uring_register", 427, 427, _URING),
    Denied("add_key", 248, 217, _KEYS),
    Denied("request_key", 249, 218, _KEYS),
    Denied("keyctl", 250, 219, _KEYS),
    Denied("kexec_load", 246, 104, _MODULES),
    Denied("kexec_file_load", 320, 294, _MODULES),
    Denied("init_module", 175, 105, _MODULES),
    Denied("finit_module", 313, 273, _MODULES),
    Denied("delete_module", 176, 106, _MODULES),
    Denied("process_vm_readv", 310, 270, "memory of others, without being traced"),
    Denied("process_vm_writev", 311, 271, "as above"),
    Denied("pidfd_getfd", 438, 438, "descriptors of others"),
    Denied("kcmp", 312, 272, "compares what others have open, and tells addresses of the kernel"),
    Denied("open_by_handle_at", 304, 265, "opens files past the folders that they lie in"),
    Denied("name_to_handle_at", 303, 264, "names them for that"),
    Denied("fanotify_init", 300, 262, "watches whole file systems"),
    Denied("quotactl", 179, 60, "limits of file systems"),
    Denied("quotactl_fd", 443, 443, "as above"),
    Denied("swapon", 167, 224, "memory of the machine"),
    Denied("swapoff", 168, 225, "as above"),
    Denied("acct", 163, 89, "records what all processes do"),
    Denied("syslog", 103, 116, "the kernel's log tells addresses"),
    Denied("reboot", 169, 142, "ends the machine"),
    Denied("settimeofday", 164, 170, _TIME),
    Denied("clock_settime", 227, 112, _TIME),
    Denied("clock_adjtime", 305, 266, _TIME),
    Denied("adjtimex", 159, 171, _TIME),
    Denied("sethostname", 170, 161, "names are told to it, not chosen"),
    Denied("setdomainname", 171, 162, "as above"),
    Denied("iopl", 172, None, "ports of the hardware"),
    Denied("ioperm", 173, None, "as above"),
    Denied("modify_ldt", 154, None, "segments of old programs; a way out more than once"),
    Denied("lookup_dcookie", 212, 18, "a profiler's, and unused"),
    Denied("vhangup", 153, 58, "hangs up the terminal of others"),
    Denied("migrate_pages", 256, 238, "memory of others on other nodes"),
    Denied("move_pages", 279, 239, "as above"),
    Denied("mbind", 237, 235, "policies of memory; a way out more than once"),
    Denied("set_mempolicy", 238, 237, "as above"),
    Denied("memfd_secret", 447, 447, "memory that nobody outside can look at"),
)

CLONE = {"x86_64": 56, "aarch64": 220}
NEW_NAMESPACES = 0x7E020080
"""Flags of `clone` that make namespaces: mounts, cgroups, names, ipc, users, processes, network, and time."""
IOCTL = {"x86_64": 16, "aarch64": 29}
FORBIDDEN_IOCTLS = {
    0x5412: "TIOCSTI types into the terminal of whoever started it",
    0x541C: "TIOCLINUX does so on a console",
}
PERSONALITY = {"x86_64": 135, "aarch64": 92}
PERSONALITIES = {
    0x00000000: "Linux, as it is",
    0x00000008: "as above, with 32 bits said by uname",
    0x00020000: "an older version said by uname",
    0xFFFFFFFF: "only asks",
}
"""All others switch off protections of memory."""
SOCKET = {"x86_64": 41, "aarch64": 198}
FAMILIES = {
    1: "AF_UNIX, among themselves",
    2: "AF_INET, in a network of their own",
    10: "AF_INET6, as above",
    16: "AF_NETLINK: programs ask it which addresses there are",
}
"""All others are drivers that nobody inside needs: packets, virtual machines, ciphers, radios."""

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000
"""From this number on, calls with pointers of 32 bits: a second door to all of them."""
_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24
"""Where the kernel puts them; of the arguments the lower half, which comes first on these machines."""


def program(machine: str | None = None) -> bytes:
    """As the kernel takes it; raises KeyError on a machine that nobody has looked at."""
    machine = machine or os.uname().machine
    lines = [
        _line(_LOAD, _ARCHITECTURE),
        _line(_JUMP_EQUAL, _ARCHITECTURES[machine], true=1),
        _line(_RETURN, _KILL),
        _line(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        lines += [_line(_JUMP_GREATER_EQUAL, _X32, false=1), _line(_RETURN, _ERRNO | errno.ENOSYS)]
    for denied in DENIED:
        number = denied.x86_64 if machine == "x86_64" else denied.aarch64
        if number is not None:
            lines += [_line(_JUMP_EQUAL, number, false=1), _line(_RETURN, _ERRNO | denied.error)]
    refuse = _line(_RETURN, _ERRNO | errno.EPERM)
    allow = _line(_RETURN, _ALLOW)
    lines += _where(CLONE[machine], _FIRST, [_line(_JUMP_SET, NEW_NAMESPACES, false=1), refuse, allow])
    lines += _where(IOCTL[machine], _SECOND, [*_each(FORBIDDEN_IOCTLS, refuse), allow])
    lines += _where(PERSONALITY[machine], _FIRST, [*_each(PERSONALITIES, allow), refuse])
    lines += _where(SOCKET[machine], _FIRST, [*_each(FAMILIES, allow), refuse])
    return b"".join([*lines, allow])


def _where(number: int, argument: int, then: list[bytes]) -> list[bytes]:
    """What becomes of one call, as its argument says."""
    return [_line(_JUMP_EQUAL, number, false=len(then) + 1), _line(_LOAD, argument), *then]


def _each(values: dict[int, str], then: bytes) -> list[bytes]:
    return [line for value in values for line in (_line(_JUMP_EQUAL, value, false=1), then)]


def _line(code: int, value: int, *, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, value)


RULES = program()
"""Of this machine: put together once, and not by every keeper."""
