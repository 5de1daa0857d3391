"""What the kernel limits for each process, or for all of one sandbox, whoever started them."""

import resource
from collections.abc import Mapping

from signalbox_sandbox.keeper import groups

LIMITS = {
    "pids": (resource.RLIMIT_NPROC, 512),
    "files": (resource.RLIMIT_NOFILE, 4_096),
    "fileSize": (resource.RLIMIT_FSIZE, None),
}
"""With the default of each, None for no limit. Processes are counted for the sandbox as a whole, as each has
a namespace of users of its own (Linux 5.14); the others hold for each process."""
COUNTED = ("disk", "entries")
"""Bytes and entries in the folders that it writes to."""
_ALWAYS = {resource.RLIMIT_CORE: 0, resource.RLIMIT_MSGQUEUE: 0, resource.RLIMIT_MEMLOCK: 64 * 1024}


def checked(limits: Mapping[str, object]) -> dict[str, int | None]:
    """With the defaults; raises ValueError for what is no limit."""
    if unknown := limits.keys() - LIMITS.keys() - set(groups.LIMITS) - set(COUNTED):
        raise ValueError(f"no limits: {', '.join(sorted(unknown))}")
    found: dict[str, int | None] = {}
    for name, (_, default) in LIMITS.items():
        value = limits.get(name, default)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name} is a number from 1, not {value!r}")
        found[name] = value
    return found


def of_groups(limits: Mapping[str, object]) -> dict[str, float | None]:
    """What the kernel limits for all of a sandbox together."""
    return _numbers(limits, groups.LIMITS)


def counted(limits: Mapping[str, object]) -> dict[str, float | None]:
    """What a keeper counts itself."""
    return _numbers(limits, COUNTED)


def _numbers(limits: Mapping[str, object], names: tuple[str, ...]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name in names:
        value = limits.get(name)
        if value is not None and (
            not isinstance(value, int | float) or isinstance(value, bool) or value <= 0
        ):
            raise ValueError(f"{name} is a number above 0, not {value!r}")
        found[name] = value
    return found


def apply(limits: Mapping[str, int | None]) -> None:
    """From here on, for this process and all that it starts; nobody raises them again."""
    wanted = {number: limits[name] for name, (number, _) in LIMITS.items()} | _ALWAYS
    for number, value in wanted.items():
        _, hard = resource.getrlimit(number)
        if value is not None and (hard == resource.RLIM_INFINITY or value <= hard):
            hard = value
        resource.setrlimit(number, (hard, hard))
