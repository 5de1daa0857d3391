"""What the kernel limits for all of a sandbox together, where it lets us make groups of processes.

Version 1 has a tree for each thing that is limited, version 2 one for all. The role makes the groups, and
hands `cgroup.procs` to the uid of sandboxes, which reaches it from outside alone: a keeper goes into the
group of its sandbox, starts what is first in it, and leaves again.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
_PROCESSES = "cgroup.procs"
_KEEPERS = "keepers"
_PERIOD = 10_000
"""Microseconds in which a sandbox has its share of the processors: others wait no longer for it."""
_LEAST_QUOTA = 1_000
"""Microseconds below which the kernel takes none."""
LIMITS = ("memory", "cpus")


class _Kind(NamedTuple):
    """How one version limits it: the tree, the file, and what is written there."""

    tree: str
    files: tuple[str, ...]


_V1 = {
    "memory": _Kind("memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
    "cpus": _Kind("cpu", ("cpu.cfs_period_us", "cpu.cfs_quota_us")),
}
_V2 = {"memory": _Kind("", ("memory.max", "memory.swap.max")), "cpus": _Kind("", ("cpu.max",))}
_CONTROLLERS = {"memory": "memory", "cpus": "cpu"}


class Groups:
    """Of all sandboxes of a node; `holds` is what they limit here."""

    def __init__(self, folder: Path, uid: int) -> None:
        self._uid = uid
        self._name = f"signalbox-{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
        self._bases: dict[str, Path] = {}
        """By limit, the group that those of all sandboxes are in."""
        self._kinds: Mapping[str, _Kind] = _V2 if (ROOT / "cgroup.controllers").exists() else _V1
        for limit in LIMITS:
            with suppress(OSError):
                self._bases[limit] = self._base(limit)

    @property
    def holds(self) -> frozenset[str]:
        return frozenset(self._bases)

    def _base(self, limit: str) -> Path:
        """Raises OSError where that is not ours to make."""
        kind = self._kinds[limit]
        above = ROOT / kind.tree
        if self._kinds is _V2:
            above /= _own_group().lstrip("/")
            (above / "cgroup.subtree_control").write_text(f"+{_CONTROLLERS[limit]}")
        base = above / self._name
        base.mkdir(exist_ok=True)
        if self._kinds is _V2:
            (base / "cgroup.subtree_control").write_text(f"+{_CONTROLLERS[limit]}")
        (base / _KEEPERS).mkdir(exist_ok=True)
        for group in (base, base / _KEEPERS):
            self._hand_over(group)
        return base

    def _hand_over(self, group: Path) -> None:
        if os.geteuid() == 0:
            os.chown(group / _PROCESSES, self._uid, self._uid)

    def make(self, identifier: str, limits: Mapping[str, float | None]) -> list[Path]:
        """For what is limited, and can be; raises OSError where the kernel does not take it."""
        made = []
        for limit, base in self._bases.items():
            value = limits.get(limit)
            if value is None:
                continue
            group = base / identifier
            group.mkdir(exist_ok=True)
            for name in self._kinds[limit].files:
                if (group / name).exists():
                    (group / name).write_text(self._text(name, value))
            self._hand_over(group)
            made.append(group)
        return made

    def _text(self, name: str, value: float) -> str:
        match name:
            case "cpu.max":
                return f"{int(value * _period(value))} {_period(value)}"
            case "cpu.cfs_period_us":
                return str(_period(value))
            case "cpu.cfs_quota_us":
                return str(int(value * _period(value)))
            case "memory.swap.max":
                return "0"
            case _:
                return str(int(value))

    def remove(self, identifier: str) -> None:
        """Nobody is in it any more; where somebody still is, it stays for the next look."""
        for base in set(self._bases.values()):
            with suppress(OSError):
                (base / identifier).rmdir()

    def names(self) -> set[str]:
        """Of the sandboxes that have one."""
        bases = set(self._bases.values())
        return {group.name for base in bases for group in base.iterdir() if group.is_dir()} - {_KEEPERS}

    def close(self) -> None:
        """Takes away all that it has made, where no sandbox is left; the next role makes it again."""
        for base in set(self._bases.values()):
            with suppress(OSError):
                for group in [each for each in base.iterdir() if each.is_dir()]:
                    group.rmdir()
                base.rmdir()


def _period(cpus: float) -> int:
    """Longer where the share is so small that the kernel would not take it."""
    return max(_PERIOD, math.ceil(_LEAST_QUOTA / cpus))


@contextmanager
def within(groups: list[Path]) -> Iterator[None]:
    """What is started here is in them, and all that it starts."""
    for group in groups:
        (group / _PROCESSES).write_text("0")
    try:
        yield
    finally:
        for group in groups:
            (group.with_name(_KEEPERS) / _PROCESSES).write_text("0")


def _own_group() -> str:
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return "/"
