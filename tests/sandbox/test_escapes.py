"""Ways out, each with the hardening that it is about: tried inside, and again with that one switched off.

A way out that stays shut without its hardening would prove nothing.
"""

import os
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from signalbox_sandbox.runtime.keepers import KeeperGone
from tests.support.node import Node, Sandbox
from tests.support.weakened import SWITCHED_OFF

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of that machine")

HEADER = """
import array, ctypes, errno, fcntl, os, pty, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    done = libc.syscall(ctypes.c_long(number), *arguments)
    return done if done >= 0 else -ctypes.get_errno()
def passed(*errors):
    '''Whether the kernel looked at it: what is filtered is refused before.'''
    return all(error not in (-errno.EPERM, -errno.ENOSYS) for error in errors)
def residents():
    found = [p for p in os.listdir("/proc") if p.isdecimal()]
    found = [p for p in found if read(f"/proc/{p}/comm").startswith(b"signalbox-keepe")]
    assert found
    return found
def read(path):
    try:
        return open(path, "rb").read(4096)
    except OSError:
        return b""
"""


@dataclass(frozen=True)
class Way:
    """`script` sets `out`."""

    hardening: str
    script: str


WAYS = {
    "what listens on the machine": Way(
        "network namespace",
        "s = socket.socket(); s.settimeout(3); out = s.connect_ex(('127.0.0.1', int(sys.argv[1]))) == 0",
    ),
    "abstract sockets of the machine": Way(
        "network namespace",
        "s = socket.socket(socket.AF_UNIX); out = s.connect_ex('\\0' + sys.argv[2]) == 0",
    ),
    "which networks the machine has": Way(
        "network namespace", "out = len(socket.if_nameindex()) > 1 or b'eth' in read('/proc/net/dev')"
    ),
    "shared memory of others": Way(
        "ipc namespace", "out = sys.argv[3].encode() in read('/proc/sysvipc/shm')"
    ),
    "the name of the machine": Way("names namespace", "out = os.uname().nodename == sys.argv[4]"),
    "where it stands among the groups": Way(
        "groups namespace", "out = any(not l.endswith(b':/') for l in read('/proc/self/cgroup').splitlines())"
    ),
    "a namespace by unshare": Way("namespaces of one's own", "out = call(272, 0x10000000) == 0"),
    "a namespace by clone": Way(
        "namespaces of one's own",
        "pid = call(56, ctypes.c_long(0x10000000 | 17), 0, 0, 0, 0)\nif pid == 0: os._exit(0)\nout = pid > 0",
    ),
    "capabilities": Way(
        "capabilities", "out = int(read('/proc/self/status').split(b'CapBnd:')[1].split()[0], 16) != 0"
    ),
    "more privileges by a program": Way(
        "capabilities", "out = b'NoNewPrivs:\\t0' in read('/proc/self/status')"
    ),
    "typing into a terminal": Way(
        "filter of calls",
        "master, slave = pty.openpty()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os.setsid(); fcntl.ioctl(slave, 0x540E, 0)\n"
        "    try:\n        fcntl.ioctl(slave, 0x5412, b'x'); os._exit(0)\n"
        "    except OSError as error:\n        os._exit(0 if error.errno == errno.EIO else 1)\n"
        "out = os.waitpid(pid, 0)[1] == 0",
    ),
    "the keyring": Way("filter of calls", "out = call(250, 0, -3, 1) > 0"),
    "io_uring": Way("filter of calls", "out = passed(call(425, 1, 0))"),
    "userfaultfd": Way("filter of calls", "out = call(323, 1) > 0"),
    "a netlink of the firewall": Way(
        "filter of calls",
        "try:\n    socket.socket(38, socket.SOCK_SEQPACKET, 0); out = True\n"
        "except OSError as error:\n    out = error.errno != errno.EPERM",
    ),
    "addresses that do not move": Way("filter of calls", "out = call(135, 0x0040000) >= 0"),
    "a policy of memory": Way("filter of calls", "out = call(238, 0, 0, 0) == 0"),
    "names of the host's users": Way("filter of calls", "out = passed(call(304, -1, 0, 0))"),
    "memory that nobody looks at": Way("filter of calls", "out = passed(call(447, 0xffffffff))"),
    "names of the kernel": Way("masks", "out = read('/proc/kallsyms') + read('/proc/config.gz') != b''"),
    "a folder of its own at the root": Way(
        "read-only root",
        "try:\n    os.mkdir('/new'); out = True\nexcept OSError:\n    out = False",
    ),
    "a template of all": Way(
        "read-only template",
        "try:\n    open('/opt/template/planted', 'w').close(); out = True\nexcept OSError:\n    out = False",
    ),
    "files that others have in /tmp": Way("own /tmp", "out = os.path.exists(sys.argv[5])"),
    "folders of the machine": Way("nothing else of the machine", "out = os.path.exists(sys.argv[6])"),
    "what ours has in its memory": Way(
        "not dumpable",
        "out = any(read(f'/proc/{p}/maps') for p in residents())",
    ),
    "what ours has open": Way(
        "not dumpable",
        "def opened(p):\n"
        "    try:\n        return os.listdir(f'/proc/{p}/fd')\n"
        "    except OSError:\n        return []\n"
        "out = any(opened(p) for p in residents())",
    ),
    "processes without end": Way(
        "limits of processes",
        "import resource; out = resource.getrlimit(resource.RLIMIT_NPROC)[0] > 512 or "
        "resource.getrlimit(resource.RLIMIT_NPROC)[0] < 0",
    ),
    "what was in the memory of a crash": Way(
        "limits of processes", "import resource; out = resource.getrlimit(resource.RLIMIT_CORE)[1] != 0"
    ),
}


@dataclass
class Outside:
    """What is there to be found, as the arguments of each way."""

    arguments: list[str]
    template: Path


@contextmanager
def _outside(folder: Path) -> Iterator[Outside]:
    listener = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    name = f"signalbox-canary-{uuid.uuid4().hex}"
    abstract.bind(f"\0{name}")
    abstract.listen()
    made = subprocess.run(["ipcmk", "--shmem", "4096"], capture_output=True, text=True, check=True)
    memory = made.stdout.split()[-1]
    canaries = [Path(place, name) for place in ("/tmp", "/var/tmp")]
    template = folder.with_name(f"{folder.name}-template")
    template.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(template, 64_000, 64_000)
    for path in canaries:
        path.touch()
    port = str(listener.getsockname()[1])
    try:
        yield Outside([port, name, memory, os.uname().nodename, *map(str, canaries)], template)
    finally:
        listener.close()
        abstract.close()
        subprocess.run(["ipcrm", "--shmem-id", memory], check=False)
        for path in canaries:
            path.unlink()


async def tried(sandbox: Sandbox, way: Way, outside: Outside) -> bool:
    ran = await sandbox.run("python3", "-c", HEADER + way.script + "\nprint(bool(out))", *outside.arguments)
    assert ran.stdout in ("True\n", "False\n"), ran
    return ran.stdout == "True\n"


@pytest.fixture(scope="module")
async def hardened(node: Node) -> AsyncIterator[tuple[Sandbox, Outside]]:
    with _outside(node.folder) as outside:
        yield await node.keep(layer=outside.template), outside


@pytest.mark.parametrize("name", WAYS)
async def test_no_way_leads_out(hardened: tuple[Sandbox, Outside], name: str) -> None:
    sandbox, outside = hardened
    assert not await tried(sandbox, WAYS[name], outside)


@pytest.mark.parametrize("hardening", SWITCHED_OFF)
async def test_each_hardening_is_what_keeps_it_in(hardening: str) -> None:
    """With it switched off, all ways that it shuts are open, and this suite sees it."""
    node = Node.new(weakened=hardening)
    await node.start()
    try:
        with _outside(node.folder) as outside:
            sandbox = await node.keep(layer=outside.template)
            ways = {name: way for name, way in WAYS.items() if way.hardening == hardening}
            assert ways, "a hardening that no way is about"
            shut = [name for name, way in ways.items() if not await tried(sandbox, way, outside)]
            assert shut == []
            with suppress(KeeperGone):
                await sandbox.client.ask("end")
    finally:
        await node.stop()


def test_every_way_is_about_a_hardening() -> None:
    assert {way.hardening for way in WAYS.values()} == set(SWITCHED_OFF)
