"""Finds and ends the processes of a stack whose supervisor is gone."""

import os
import signal
from pathlib import Path

import psutil

from signalbox_cli.stack.home import MARK, Home

PATIENCE = 8.0
_SERVERS = frozenset({"postgres", "valkey-server", "redis-server", "nats-server"})


def find(home: Home) -> list[psutil.Process]:
    """Every process that carries this home's mark, but us and those that started us."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in ours:
            continue
        try:
            if process.status() != psutil.STATUS_ZOMBIE and _belongs(process, home):
                found.append(process)
        except (psutil.Error, OSError):
            continue  # not ours to look into, or gone
    return found


def _belongs(process: psutil.Process, home: Home) -> bool:
    """By its mark; servers that write their title over their environment never leave their folder."""
    if process.environ().get(MARK) == home.mark:
        return True
    return _name(process) in _SERVERS and Path(process.cwd()).is_relative_to(home.data)


def end(home: Home) -> int:
    """Services first, then what they stand on; what does not stop when asked is killed."""
    processes = find(home)
    servers = [process for process in processes if _name(process) in _SERVERS]
    for group in ([process for process in processes if process not in servers], servers):
        for process in group:
            _signal(process, signal.SIGINT if _is_postgres(process) else signal.SIGTERM)
        _, alive = psutil.wait_procs(group, timeout=PATIENCE)
        for process in alive:
            _signal(process, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=2)
    return len(processes)


def kill_orphans(home: Home, name: str) -> None:
    """Kills what a dead server left behind, so that its successor can start at once."""
    orphans = [process for process in find(home) if _name(process) == name]
    for process in orphans:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(orphans, timeout=2)


def _is_postgres(process: psutil.Process) -> bool:
    return _name(process) == "postgres"


def _name(process: psutil.Process) -> str:
    try:
        return Path(process.exe()).name
    except (psutil.Error, OSError):
        return ""


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
