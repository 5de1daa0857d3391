"""`python -m signalbox_sandbox.egress`: the role, with what its environment says."""

import asyncio
import os
import pwd
import resource
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop

from signalbox_sandbox.egress.proxy import Proxy, rules_of
from signalbox_sandbox.egress.server import EgressServer
from signalbox_sandbox.keeper import libc
from signalbox_sandbox.keeper.__main__ import DEFAULT_UID, WITH_PARENT

NOBODY = "nobody"


RESOLVERS = 256
"""Names that are looked up at a time, of all sandboxes."""


async def _serve(server: EgressServer, parent: int | None) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(RESOLVERS))
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await server.start()
    if os.geteuid() == 0:
        _drop_root()
    if parent is not None:
        libc.end_with_parent(signal.SIGTERM, parent)  # as somebody else it would not be heard any more
    await told.wait()
    await server.stop()


def _drop_root() -> None:
    """Whoever breaks in here is nobody."""
    account = pwd.getpwnam(NOBODY)
    os.setgroups([])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)


def main() -> None:
    parent = os.getppid() if WITH_PARENT in sys.argv else None
    folder = Path(os.environ["SIGNALBOX_SANDBOXES"]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    uid = int(os.environ.get("SIGNALBOX_SANDBOX_UID") or DEFAULT_UID) if os.geteuid() == 0 else None
    try:
        rules = rules_of(os.environ)
    except ValueError as error:
        sys.exit(f"SIGNALBOX_PRIVATE_HOSTS, SIGNALBOX_OWN_ADDRESSES: {error}")
    server = EgressServer(folder, Proxy(rules), sandbox_uid=uid)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    "localhost".encode("idna")  # imports what resolving needs: nobody else could
    uvloop.run(_serve(server, parent))


if __name__ == "__main__":
    main()
