"""What a program inside may not do, tried from inside; what it would have changed is looked at outside."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from signalbox_sandbox.runtime.keepers import KeeperGone
from tests.support.node import Node, Sandbox

HEADER = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    done = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return "done" if done >= 0 else errno.errorcode[ctypes.get_errno()]
def reading(path):
    try:
        return open(path, "rb").read(64)
    except OSError as error:
        return errno.errorcode[error.errno]
def writing(path):
    try:
        open(path, "ab", buffering=0).write(b"x")
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""


@pytest.fixture(scope="module")
async def sandbox(node: Node) -> Sandbox:
    return await node.keep()


async def python(sandbox: Sandbox, script: str) -> str:
    ran = await sandbox.run("python3", "-c", HEADER + script)
    assert ran.code == 0, ran.stderr
    return ran.stdout.strip()


async def test_who_it_is(sandbox: Sandbox) -> None:
    status = (await sandbox.sh("cat /proc/self/status")).stdout
    told = dict(line.split(":\t", 1) for line in status.splitlines())
    for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb"):
        assert int(told[f"Cap{kind}"], 16) == 0, kind
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")
    assert told["Uid"].split() == ["1000"] * 4
    keeper = psutil.Process(await sandbox.keeper())
    for process in (keeper, *keeper.children(recursive=True)):
        assert 0 not in process.uids(), "outside it is nobody of power either"
        held = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        )
        assert int(held["CapEff"], 16) == int(held["CapPrm"], 16) == 0, (
            "those of ours that are inside included"
        )


async def test_it_inherits_nothing(sandbox: Sandbox) -> None:
    listed = await python(sandbox, "print(*sorted(map(int, os.listdir('/proc/self/fd'))))")
    assert listed == "0 1 2 3", "the last one is the folder itself"
    mask = (await sandbox.sh("grep -E 'SigBlk|SigIgn' /proc/self/status")).stdout
    own = 0x7FFF_FFFF  # glibc keeps two beyond those for itself
    assert [int(line.split()[1], 16) & own for line in mask.splitlines()] == [0, 0]
    assert (await sandbox.sh("umask")).stdout.strip() == "0022"


@pytest.mark.parametrize("name", ["mnt", "net", "pid", "ipc", "uts", "user", "cgroup"])
async def test_each_namespace_is_its_own(node: Node, sandbox: Sandbox, name: str) -> None:
    other = await node.keep()
    found = [(await each.sh(f"readlink /proc/self/ns/{name}")).stdout.strip() for each in (sandbox, other)]
    assert len({*found, str(Path(f"/proc/self/ns/{name}").readlink())}) == 3
    await other.client.ask("end")


SYSCALLS = {
    "mount": (165, "EPERM"),
    "umount2": (166, "EPERM"),
    "pivot_root": (155, "EPERM"),
    "chroot": (161, "EPERM"),
    "unshare users": (272, "EPERM"),
    "setns": (308, "EPERM"),
    "fsopen": (430, "EPERM"),
    "bpf": (321, "EPERM"),
    "perf_event_open": (298, "EPERM"),
    "userfaultfd": (323, "EPERM"),
    "io_uring_setup": (425, "EPERM"),
    "keyctl": (250, "EPERM"),
    "add_key": (248, "EPERM"),
    "kexec_load": (246, "EPERM"),
    "init_module": (175, "EPERM"),
    "process_vm_writev": (311, "EPERM"),
    "open_by_handle_at": (304, "EPERM"),
    "reboot": (169, "EPERM"),
    "clone3": (435, "ENOSYS"),
    "mount by x32": (0x40000000 | 165, "ENOSYS"),
}


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of that machine")
@pytest.mark.parametrize("name", SYSCALLS)
async def test_calls_of_the_kernel_are_refused(sandbox: Sandbox, name: str) -> None:
    number, expected = SYSCALLS[name]
    flags = 0x10000000 if name == "unshare users" else 0
    assert await python(sandbox, f"print(call({number}, {flags}, 0, 0, 0, 0))") == expected


async def test_no_namespace_by_clone(sandbox: Sandbox) -> None:
    assert await python(sandbox, "print(call(56, 0x10000000 | 17, 0, 0, 0, 0))") == "EPERM"
    assert (await sandbox.run("unshare", "--user", "true")).code != 0


async def test_nothing_is_typed_into_a_terminal(sandbox: Sandbox) -> None:
    """Into the one of whoever has started it, as an old trick does."""
    script = (
        "import fcntl, os, pty\nmaster, slave = pty.openpty()\n"
        "try:\n    fcntl.ioctl(slave, 0x5412, b'x'); print('done')\n"
        "except OSError as error:\n    print(errno.errorcode[error.errno])"
    )
    assert await python(sandbox, script) == "EPERM"


@pytest.mark.parametrize("family", [17, 29, 31, 38, 40, 44])  # packets, buses, radio, ciphers, machines, XDP
async def test_sockets_are_of_few_families(sandbox: Sandbox, family: int) -> None:
    script = (
        f"import socket\ntry:\n    socket.socket({family}, 3, 0); print('done')\n"
        "except OSError as error:\n    print(errno.errorcode[error.errno])"
    )
    assert await python(sandbox, script) == "EPERM"


@pytest.mark.parametrize(
    "path",
    [
        *("/usr/bin/env", "/etc/passwd", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"),
        *("/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/proc/1/mem", "/proc/3/mem"),
        *("/proc/1/oom_score_adj", "/dev/null/x", "/new", "/etc/new", "/usr/new"),
    ],
)
async def test_what_is_not_its_own_is_not_written(sandbox: Sandbox, path: str) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_bytes()
    assert await python(sandbox, f"print(writing({path!r}))") != "done"
    assert Path("/proc/sys/kernel/core_pattern").read_bytes() == pattern


@pytest.mark.parametrize(
    "path",
    [
        *("/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/kallsyms", "/proc/timer_list", "/proc/config.gz"),
        *("/proc/3/environ", "/proc/3/maps", "/proc/3/mem", "/etc/shadow", "/root", "/sys/kernel"),
        *("/dev/kmsg", "/dev/mem", "/dev/vda", "/dev/sda", "/dev/fuse", "/dev/kvm"),
        *("/var/run/docker.sock", "/run/docker.sock", "/run/dbus/system_bus_socket"),
    ],
)
async def test_what_is_not_its_own_is_not_read(sandbox: Sandbox, path: str) -> None:
    said = await python(sandbox, f"print(reading({path!r}))")
    assert said in ("b''", "ENOENT", "EACCES", "EPERM", "ENXIO"), said


async def test_the_host_is_not_seen(sandbox: Sandbox) -> None:
    """Neither its processes, nor its folders, nor what they are called."""
    seen = await sandbox.sh("cat /proc/mounts /proc/*/cmdline | tr '\\0' ' '; ls / /home /tmp")
    for secret in (str(Path.cwd()), str(sandbox.folder.parent), sys.prefix):
        assert secret not in seen.stdout
    assert (await sandbox.run("hostname")).stdout == "sandbox\n"
    pids = (await sandbox.sh("ls /proc | grep -c '^[0-9]'")).stdout
    assert int(pids) < 10


async def test_there_is_no_network(sandbox: Sandbox) -> None:
    """Nor a way to what listens on the machine, by whatever name."""
    listener = socket.create_server(("127.0.0.1", 0))
    abstract = socket.socket(socket.AF_UNIX)
    name = f"signalbox-canary-{os.getpid()}"
    abstract.bind(f"\0{name}")
    abstract.listen()
    port = listener.getsockname()[1]
    script = f"""
import socket
def tries(family, address):
    try:
        with socket.socket(family) as s:
            s.settimeout(2); s.connect(address)
        return "connected"
    except OSError as error:
        return errno.errorcode.get(error.errno, "TIMEOUT")
print(tries(socket.AF_INET, ("127.0.0.1", {port})), tries(socket.AF_INET, ("169.254.169.254", 80)),
      tries(socket.AF_INET, ("1.1.1.1", 53)), tries(socket.AF_INET6, ("::1", {port})),
      tries(socket.AF_UNIX, "\\0{name}"))
"""
    said = (await python(sandbox, script)).split()
    assert "connected" not in said
    assert len(said) == 5
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.close()
    abstract.close()
    assert (
        await sandbox.sh("ls /sys/class/net 2>/dev/null; cat /proc/net/dev | tail -n +3 | wc -l")
    ).stdout == "1\n"


async def test_others_are_not_reached(node: Node) -> None:
    """A neighbour under the same uid outside: not its processes, files, or sockets."""
    other = await node.keep()
    await other.sh("touch /workspace/neighbours /tmp/neighbours")
    await other.client.start("neighbour", ["sleep", "4242"], env={"SECRET": "canary"})
    attacker = await node.keep()
    looks = "cat /proc/*/environ | tr '\\0' '\\n'; ps ax; find /workspace /tmp /home -name 'neighbours*'"
    seen = await attacker.sh(f"{looks} 2>/dev/null")
    assert "canary" not in seen.stdout
    assert "4242" not in seen.stdout
    assert "/neighbours" not in seen.stdout
    with suppress(KeeperGone):
        await attacker.sh("kill -9 -1")  # it ends itself with all that is its own
    assert (await other.sh("ps ax | grep -c '[s]leep 4242'")).stdout == "1\n"
    await other.client.ask("end")


@pytest.mark.parametrize("name", ["python", "python3", "cat", "bwrap", "sh", "sleep"])
async def test_who_ends_programs_by_name_ends_none_of_ours(sandbox: Sandbox, name: str) -> None:
    await sandbox.sh(f"pkill -9 -x {name}; pkill -9 -f {name}")
    assert (await sandbox.sh("echo fine")).stdout == "fine\n"


async def test_setuid_files_give_nothing(node: Node) -> None:
    sandbox = await node.keep()
    script = "cp /usr/bin/id /workspace && chmod 6755 /workspace/id && /workspace/id -u; su -c id 2>&1"
    said = (await sandbox.sh(script)).stdout
    assert said.startswith("1000\n")
    assert "uid=0" not in said
    await sandbox.client.ask("end")
