"""A sandbox of bubblewrap: what is mounted in it, and the namespaces that others join."""

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from signalbox_sandbox.keeper import seccomp

UID = 1000
"""Of programs inside."""
WORKSPACE = "/workspace"
TREE, HISTORY = "tree", "git"
"""What lies in the folder of a checkout."""
_HOSTNAME = "sandbox"
_TMP = "/tmp"  # noqa: S108 - inside, and of each its own
_TMP_SIZE = 64 * 1024 * 1024
HOME = "/home/user"
PREFIX, BUILT = "/opt/template", "built"
"""Where the programs of a template are, and where those lie that are being made."""
ENVIRONMENT = {
    "HOME": HOME,
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "TERM": "xterm-256color",
    "USER": "user",
}
JOINED: tuple[str, ...] = ("outer", "mnt", "net", "ipc", "uts", "cgroup", "pid", "user")
"""In this order: nothing else could be joined once the innermost user namespace was."""
_PARENT_OF_NAMESPACE = 0xB702
_HOLDER = "/run/signalbox-holder"
"""What bubblewrap starts: a `cat` that stays as long as its keeper does, and says so when it is there."""
_MASKED = tuple(
    f"/proc/{name}"
    for name in (
        *("acpi", "config.gz", "kallsyms", "key-users", "keys", "modules", "sched_debug", "scsi"),
        "timer_list",
    )
)
"""What everybody may read there; the rest is for the host's root alone."""
_SYSTEM = ("bin", "lib", "lib32", "lib64", "sbin")


class StartFailed(Exception):
    """Says what bubblewrap said."""


class Plan(NamedTuple):
    """What a sandbox is to be, as its service says it."""

    folder: Path
    lower: Path | None = None
    """The checkout that its workspace begins with, if there is one: `tree`, and `git` with its history."""
    layer: Path | None = None
    """The template that it is made of, if that is not the host's own."""
    builds: bool = False
    """Whether it makes one."""


class Box:
    """Runs while its holder does; the holder lives while its input is open here, and so does all inside."""

    def __init__(self, bwrap: str, plan: Plan, etc: Path) -> None:
        """Begins it; `settle` comes next."""
        self._told, tell = os.pipe()
        rules = _as_file(seccomp.RULES)
        wanted = [*options(plan, etc), "--info-fd", str(tell), "--seccomp", str(rules)]
        # Not as arguments: everybody inside can read those, and they name folders outside.
        given = _as_file("".join(f"{option}\0" for option in wanted).encode())
        self.process = subprocess.Popen(
            ["bwrap", "--args", str(given), "--", _HOLDER],
            executable=bwrap,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(tell, rules, given),
            env={},
            cwd="/",
        )
        for descriptor in (tell, rules, given):
            os.close(descriptor)
        self._init = self._first = 0
        """The first process of its namespace, with which all others go, and the one that is joined."""

    def settle(self) -> None:
        """Returns when its holder is there: then all is as it was asked for."""
        with os.fdopen(self._told, "rb") as information:
            said = information.read()
        if (problem := _problem(self.process)) is not None:
            raise StartFailed(problem)
        self._init = int(json.loads(said)["child-pid"])
        children = Path(f"/proc/{self._init}/task/{self._init}/children").read_bytes()
        self._first = int(children.split()[0])

    def namespaces(self) -> list[int]:
        """A descriptor of each, in the order in which they are joined."""
        found = {
            name: os.open(f"/proc/{self._first}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            for name in JOINED
            if name != "outer"
        }
        # `--disable-userns` puts one user namespace inside another, and the others belong to the outer one.
        found["outer"] = fcntl.ioctl(found["user"], _PARENT_OF_NAMESPACE)
        return [found[name] for name in JOINED]

    def end(self) -> None:
        """Returns when nothing inside is left.

        Bubblewrap goes last: it waits for the first process inside, and that one for all others, of which
        those that have joined are children of ours.
        """
        with suppress(ChildProcessError):
            if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                # It is not yet waited for, so these are still the ones.
                os.kill(self._init or self.process.pid, signal.SIGKILL)
            while os.waitpid(-1, 0)[0]:
                pass
        self.process.returncode = -signal.SIGKILL


def _problem(process: "subprocess.Popen[bytes]") -> str | None:
    """None where the holder answers: then all is as it was asked for."""
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise TypeError("it was started without pipes")
    with stdout, stderr:
        with suppress(BrokenPipeError):
            stdin.write(b"x")
            stdin.flush()
        if stdout.read(1) == b"x":
            return None
        return stderr.read(4096).decode(errors="replace").strip() or "bubblewrap ended"


def options(plan: Plan, etc: Path) -> list[str]:
    """As bubblewrap takes them."""
    workspace = plan.folder / "workspace"
    if plan.lower is None:
        mounted = ["--bind", str(workspace), WORKSPACE]
    else:
        work = str(plan.folder / "overlay")
        mounted = ["--overlay-src", str(plan.lower / TREE), "--overlay", str(workspace), work, WORKSPACE]
        if (plan.lower / HISTORY).is_dir():
            upper, work = str(plan.folder / HISTORY), str(plan.folder / "overlay-git")
            mounted += [
                "--overlay-src",
                str(plan.lower / HISTORY),
                "--overlay",
                upper,
                work,
                f"{WORKSPACE}/.git",
            ]
    return [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"),
        *("--unshare-cgroup", "--disable-userns", "--die-with-parent", "--new-session"),
        *("--uid", str(UID), "--gid", str(UID), "--cap-drop", "ALL", "--hostname", _HOSTNAME),
        *("--clearenv", *_settings(ENVIRONMENT)),
        *("--ro-bind", "/usr", "/usr", *_system_links()),
        *("--ro-bind", str(etc), "/etc", "--proc", "/proc", "--dev", "/dev", *_masks()),
        *("--size", str(_TMP_SIZE), "--tmpfs", _TMP, "--symlink", "/usr/bin/cat", _HOLDER),
        *("--bind", str(plan.folder / "home"), HOME),
        *_template(plan),
        *mounted,
        *("--remount-ro", "/", "--chdir", WORKSPACE),
    ]


def _template(plan: Plan) -> list[str]:
    if plan.builds:
        return ["--bind", str(plan.folder / BUILT), PREFIX]
    return ["--ro-bind", str(plan.layer), PREFIX] if plan.layer is not None else []


def _settings(environment: Mapping[str, str]) -> Sequence[str]:
    return [word for name, value in environment.items() for word in ("--setenv", name, value)]


def _system_links() -> list[str]:
    """As the host has them: folders of their own where `/usr` was not merged."""
    found = []
    for name in _SYSTEM:
        path = Path("/", name)
        if path.is_symlink():
            found += ["--symlink", str(path.readlink()), f"/{name}"]
        elif path.is_dir():
            found += ["--ro-bind", str(path), f"/{name}"]
    return found


def _masks() -> list[str]:
    """What of `/proc` tells about the machine, or is an old way into its kernel."""
    found = []
    for path in map(Path, _MASKED):
        if path.is_dir():
            found += ["--perms", "0555", "--tmpfs", str(path), "--remount-ro", str(path)]
        elif path.exists():
            found += ["--ro-bind", "/dev/null", str(path)]
    return found


def _as_file(content: bytes) -> int:
    """A descriptor to read it from, which others do not inherit."""
    descriptor = os.memfd_create("rules", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
