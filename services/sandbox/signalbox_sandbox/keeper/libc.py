"""Calls of the kernel for which Python has no name."""

import ctypes
import os
import socket
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_CAPABILITIES_V3 = 0x20080522
_CAPABILITIES = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii")) + 1
_SET_PARENT_DEATH_SIGNAL = 1
_SET_DUMPABLE, _SET_NAME, _CAPBSET_DROP, _SET_SECCOMP = 4, 15, 24, 22
_LONGEST_NAME = 15
_SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 36, 38, 47
_AMBIENT_CLEAR_ALL, _SECCOMP_FILTER = 4, 2
_OPENAT2 = 437
_RENAMEAT2, _NO_REPLACE = {"x86_64": 316, "aarch64": 276}, 1
HERE = -100
"""Stands for the folder that a process works in."""
NO_LINKS, NO_MAGIC_LINKS, BENEATH = 0x04, 0x02, 0x08
"""Where a path may not lead: by links, by those that the kernel makes, out of its root."""
_ARGUMENTS = 45
"""Where `/proc/self/stat` says at which address they begin, counted from behind the name."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _call(name: str, *arguments: object) -> None:
    if getattr(_LIBC, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


_LIBC.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)


def _prctl(option: int, first: int = 0) -> None:
    _call("prctl", option, first, 0, 0, 0)


def join(namespace: int) -> None:
    """The namespace behind this descriptor; that of processes is joined by children alone."""
    _call("setns", namespace, 0)


def hide_from_others() -> None:
    """Nobody of the same uid reads or traces this process."""
    _prctl(_SET_DUMPABLE, 0)


def call_oneself(title: str) -> None:
    """As it is read inside, where nobody need know our folders, and programs are ended by their names."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    begin, end = int(fields[_ARGUMENTS]), int(fields[_ARGUMENTS + 1])
    length = end - begin
    name = ctypes.create_string_buffer(title.encode()[:_LONGEST_NAME])
    _prctl(_SET_NAME, ctypes.addressof(name))
    ctypes.memmove(begin, title.encode()[: length - 1].ljust(length, b"\0"), length)


def end_with_parent(number: int, parent: int) -> None:
    """A signal for us when whoever started us ends, `parent`; not for those that we start.

    It is forgotten with the user that we are: said again after becoming another one.
    """
    _prctl(_SET_PARENT_DEATH_SIGNAL, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def adopt_orphans() -> None:
    """What its children leave behind becomes its own, to be waited for."""
    _prctl(_SET_CHILD_SUBREAPER, 1)


def close_all_but(descriptor: int) -> None:
    """Beside standard input, output and error."""
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, os.sysconf("SC_OPEN_MAX"))


def receive(connection: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """One message, and descriptors that no program inherits (`socket.recv_fds` forgets its flags)."""
    data, descriptors, _, _ = socket.recv_fds(connection, size, most)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - its signature
    return data, descriptors


def drop_privileges() -> None:
    """All capabilities, those that could still be gained included."""
    for capability in range(_CAPABILITIES):
        _prctl(_CAPBSET_DROP, capability)
    _prctl(_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    _call("capset", ctypes.byref(_Header(_CAPABILITIES_V3, 0)), ctypes.byref((_Sets * 2)()))
    _prctl(_SET_NO_NEW_PRIVS, 1)


def filter_calls(program: bytes) -> None:
    """From here on, for this process and all that it starts; `drop_privileges` comes first."""
    filled = _Program(len(program) // 8, program)
    _call("prctl", _SET_SECCOMP, _SECCOMP_FILTER, ctypes.addressof(filled), 0, 0)


def open_by_path(path: bytes, flags: int, resolve: int, root: int = HERE) -> int:
    """As the path is counted from a folder, and no further than `resolve` lets it go."""
    how = _How(flags | os.O_CLOEXEC, 0, resolve)
    return _by_path(_OPENAT2, path, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)), root=root)


def rename_onto_nothing(path: bytes, to: bytes) -> None:
    """Raises FileExistsError where there is something."""
    _by_path(_RENAMEAT2[os.uname().machine], path, ctypes.c_int(HERE), to, ctypes.c_uint(_NO_REPLACE))


def _by_path(number: int, path: bytes, *more: object, root: int = HERE) -> int:
    found = _LIBC.syscall(ctypes.c_long(number), ctypes.c_int(root), path, *more)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(found)
