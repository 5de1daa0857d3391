"""CPU and memory of all processes of a stack, as Linux counts them, also of those that have ended."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Programs = Mapping[int, str]
"""Names by process id; what has none counts for the nearest ancestor that has one."""
Seconds = dict[str, float]
"""CPU by program."""

_TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Memory:
    """Of all processes together, in MB; the proportional figure counts shared pages once."""

    resident: float
    proportional: float
    processes: int


@dataclass(frozen=True)
class _Process:
    parent: int
    seconds: float
    """Its own, and those of its children that have ended, so that the sum over a tree loses none."""


def cpu(programs: Programs) -> Seconds:
    """What each has taken since it started."""
    spent = dict.fromkeys(programs.values(), 0.0)
    table = _table()
    for pid, process in table.items():
        if (name := _program(pid, table, programs)) is not None:
            spent[name] += process.seconds
    return spent


def memory(programs: Programs) -> Memory:
    table = _table()
    rollups = [_rollup(pid) for pid in table if _program(pid, table, programs) is not None]
    sizes = [sizes for sizes in rollups if sizes]
    return Memory(
        sum(each["Rss"] for each in sizes) * 1024 / 1e6,
        sum(each["Pss"] for each in sizes) * 1024 / 1e6,
        len(sizes),
    )


def is_alive(pid: int) -> bool:
    try:
        return _stat(pid)[0] != "Z"
    except OSError:
        return False


def _program(pid: int, table: Mapping[int, _Process], programs: Programs) -> str | None:
    while pid not in programs:
        if pid not in table:
            return None
        pid = table[pid].parent
    return programs[pid]


def _table() -> dict[int, _Process]:
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = _stat(int(folder.name))
            except OSError:
                continue
            found[int(folder.name)] = _Process(int(fields[1]), sum(map(int, fields[11:15])) * _TICK)
    return found


def _stat(pid: int) -> list[str]:
    """From the state on: what stands before may contain anything."""
    return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()


def _rollup(pid: int) -> dict[str, int]:
    """In KiB; nothing for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()[1:]
    except OSError:
        return {}
    return {name: int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}
