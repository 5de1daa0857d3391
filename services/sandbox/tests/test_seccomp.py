"""The filter of system calls: data that says why, and a program that does what it says."""

import errno
import struct

import pytest

from signalbox_sandbox.keeper import seccomp

ALLOWED, KILLED = "allowed", "killed"


def verdict(machine: str, number: int, arguments: tuple[int, ...] = (), *, architecture: int = 0) -> object:
    """What the kernel would say: the few instructions that there are, one by one."""
    program = seccomp.program(machine)
    architecture = architecture or {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    at, accumulator = 0, 0
    while True:
        code, true, false, value = struct.unpack_from("=HBBI", program, at * 8)
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x15:
                at += true if accumulator == value else false
            case 0x35:
                at += true if accumulator >= value else false
            case 0x45:
                at += true if accumulator & value else false
            case 0x06:
                return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(value, value & 0xFFFF)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_each_line_is_refused_and_says_why(machine: str) -> None:
    names = set()
    for denied in seccomp.DENIED:
        number = denied.x86_64 if machine == "x86_64" else denied.aarch64
        if number is not None:
            assert verdict(machine, number) == denied.error, denied.name
        assert denied.why
        assert denied.name not in names
        names.add(denied.name)


@pytest.mark.parametrize(("machine", "read", "clone"), [("x86_64", 0, 56), ("aarch64", 63, 220)])
def test_what_programs_need_is_allowed(machine: str, read: int, clone: int) -> None:
    assert verdict(machine, read) == ALLOWED
    assert verdict(machine, clone, (0x01200011,)) == ALLOWED, "a plain fork"
    for flag in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000, 0x80):
        assert verdict(machine, clone, (flag | 17,)) == errno.EPERM, f"a new namespace: {flag:#x}"


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_arguments_decide_where_they_should(machine: str) -> None:
    ioctl, socket = seccomp.IOCTL[machine], seccomp.SOCKET[machine]
    assert verdict(machine, ioctl, (0, 0x5412)) == errno.EPERM
    assert verdict(machine, ioctl, (0, 0x5412 | 1 << 40)) == errno.EPERM, "the kernel takes the lower half"
    assert verdict(machine, ioctl, (0, 0x5413)) == ALLOWED
    for family in range(50):
        expected = ALLOWED if family in seccomp.FAMILIES else errno.EPERM
        assert verdict(machine, socket, (family, 1, 0)) == expected, family
    assert verdict(machine, seccomp.PERSONALITY[machine], (0x0040000,)) == errno.EPERM, "without randomness"
    assert verdict(machine, seccomp.PERSONALITY[machine], (0xFFFFFFFF,)) == ALLOWED


def test_there_is_no_second_door() -> None:
    assert verdict("x86_64", 0x40000000 | 165) == errno.ENOSYS, "the calls of x32"
    assert verdict("x86_64", 21, architecture=0x40000003) == KILLED, "those of 32 bits"
    with pytest.raises(KeyError):
        seccomp.program("vax")
