"""The role `keeper` with one of its hardenings switched off: what shows that a test of it can fail.

`python -m tests.support.weakened NAME`. Nothing of this can be asked of the product.
"""

import sys
from collections.abc import Callable, Sequence

from signalbox_sandbox.keeper import __main__ as role
from signalbox_sandbox.keeper import box, libc, limits, seccomp

_options = box.options
_ALLOW_ALL = seccomp._line(0x06, 0x7FFF0000)


def _with_options(change: Callable[[list[str]], list[str]]) -> None:
    box.options = lambda plan, etc: change(_options(plan, etc))


def _without(*words: str) -> Callable[[], None]:
    """The options, each with what belongs to it."""
    return lambda: _with_options(lambda found: _dropped(found, words))


def _dropped(found: Sequence[str], words: Sequence[str]) -> list[str]:
    kept, left = [], list(found)
    while left:
        for gone in (word.split() for word in words):
            if left[: len(gone)] == gone:
                del left[: len(gone)]
                break
        else:
            kept.append(left.pop(0))
    return kept


def _shared(namespace: str, *words: str) -> Callable[[], None]:
    """That of the machine, which is joined by nobody."""

    def switch_off() -> None:
        box.JOINED = tuple(name for name in box.JOINED if name != namespace)
        _without(*words)()

    return switch_off


def _replaced(old: Sequence[str], new: Sequence[str]) -> Callable[[], None]:
    def change(found: list[str]) -> list[str]:
        for at in range(len(found)):
            if found[at : at + len(old)] == list(old):
                return [*found[:at], *new, *found[at + len(old) :]]
        raise LookupError(f"there is no {old}")

    return lambda: _with_options(change)


def _unfiltered() -> None:
    seccomp.RULES = _ALLOW_ALL


def _privileged() -> None:
    libc.drop_privileges = lambda: None


def _readable() -> None:
    """The kernel itself hides who has joined, until something is executed."""
    libc.hide_from_others = lambda: libc._prctl(4, 1)


def _unlimited() -> None:
    limits.apply = lambda limits: None


def _in_user_namespaces() -> None:
    """Two layers: the option, and the filter that lets nobody ask."""
    _unfiltered()
    _without("--disable-userns")()


def _unmasked() -> None:
    box._masks = list


def _writable_template() -> None:
    def change(found: list[str]) -> list[str]:
        at = found.index(box.PREFIX) - 2
        return [*found[:at], "--bind", *found[at + 1 :]]

    _with_options(change)


SWITCHED_OFF: dict[str, Callable[[], None]] = {
    "network namespace": _shared("net", "--unshare-net"),
    "ipc namespace": _shared("ipc", "--unshare-ipc"),
    "names namespace": _shared("uts", "--unshare-uts", "--hostname sandbox"),
    "groups namespace": _shared("cgroup", "--unshare-cgroup"),
    "namespaces of one's own": _in_user_namespaces,
    "capabilities": _privileged,
    "filter of calls": _unfiltered,
    "masks": _unmasked,
    "read-only root": _without("--remount-ro /"),
    "read-only template": _writable_template,
    "own /tmp": _replaced(["--size", "67108864", "--tmpfs", "/tmp"], ["--bind", "/tmp", "/tmp"]),
    "nothing else of the machine": _replaced(
        ["--proc", "/proc"], ["--proc", "/proc", "--ro-bind", "/var/tmp", "/var/tmp"]
    ),
    "not dumpable": _readable,
    "limits of processes": _unlimited,
}

if __name__ == "__main__":
    SWITCHED_OFF[sys.argv.pop()]()
    role.main()
