"""Passwords of this installation, and the files that servers and services read them from.

One directory per service holds what that service may know, as files for `<NAME>_FILE` settings.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from signalbox_cli.provision.accounts import (
    STREAMS,
    Crossing,
    account_of,
    account_of_publisher,
    crossings,
    exports,
    imports,
)
from signalbox_cli.provision.permissions import (
    ADMIN,
    OPERATOR,
    USERS,
    Permissions,
    of_publisher,
    of_user,
    redis_rules,
)
from signalbox_cli.secret_files import folder_mode, write_secret
from signalbox_common.contracts.streams import MAX_PAYLOAD, Topology
from signalbox_common.entries import RootKey
from signalbox_common.keys import derive
from signalbox_common.programs import FANOUT, PROGRAMS

DATABASE = "signalbox"
MAINTENANCE = "postgres"
"""The database that every server has."""
_POSTGRES = ("postgres", "postgresql")
KNOWS_SECRET_KEY = frozenset({"auth"})
"""Who gets the key of the installation; all others have one made of it, which tells nothing about it."""
EDGE = frozenset({"gateway", FANOUT})
"""Who read the ids of each other's operations: they share one."""


@dataclass(frozen=True)
class Endpoints:
    """Where the servers are: `host:port`, or a whole URL that somebody brought along."""

    postgres: str
    redis: str
    nats: str
    postgres_options: str = ""
    """What follows the `?` of a URL that somebody brought along."""
    database: str = DATABASE


@dataclass(frozen=True)
class Publisher:
    """A service outside that publishes events of one project."""

    project: str
    password: str

    @staticmethod
    def user(name: str) -> str:
        """What it is called on the bus."""
        return f"publisher-{name}"


@dataclass(frozen=True)
class Credentials:
    """Everything secret about an installation."""

    secret_key: str
    admin_password: str
    passwords: dict[str, dict[str, str]]
    """By server and user."""
    root_key: str = ""
    """Signs the entries of the buckets; auth alone gets it, its public half everybody. Empty only in the file
    of an earlier version, until `load_or_make` adds to it."""
    publishers: dict[str, Publisher] = field(default_factory=dict)
    """By name."""

    @staticmethod
    def load_or_make(path: Path, mode: int = 0o600) -> "Credentials":
        """Reads the file, and adds to it, with passwords that nobody chose, what is not there yet."""
        with locked(path, mode):
            return Credentials._loaded_or_made(path, mode)

    @staticmethod
    def _loaded_or_made(path: Path, mode: int) -> "Credentials":
        there: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        known: dict[str, dict[str, str]] = there.get("passwords", {})
        made = Credentials(
            secret_key=there.get("secret_key") or os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32),
            admin_password=there.get("admin_password")
            or os.environ.get("SIGNALBOX_ADMIN_PASSWORD")
            or secrets.token_urlsafe(15),
            root_key=there.get("root_key") or RootKey.new().seed,
            passwords={
                server: {user: known.get(server, {}).get(user) or secrets.token_urlsafe(24) for user in USERS}
                for server in ("postgres", "redis", "nats")
            },
            publishers={name: Publisher(**each) for name, each in there.get("publishers", {}).items()},
        )
        made.save(path, mode)
        return made

    @staticmethod
    def read(path: Path) -> "Credentials":
        there = json.loads(path.read_text(encoding="utf-8"))
        publishers = {name: Publisher(**each) for name, each in there.pop("publishers", {}).items()}
        return Credentials(**there, publishers=publishers)

    def save(self, path: Path, mode: int = 0o600) -> None:
        write_secret(path, json.dumps(asdict(self), indent=2), mode)

    def secret_key_of(self, service: str) -> str:
        """What a service gets as its `SECRET_KEY`."""
        if service in KNOWS_SECRET_KEY:
            return self.secret_key
        return derive(self.secret_key, f"secret-key-of/{'edge' if service in EDGE else service}").hex()

    def nats_url(self, endpoints: Endpoints, user: str) -> str:
        return _url("nats", endpoints.nats, user, self.passwords["nats"][user])

    def redis_url(self, endpoints: Endpoints, user: str) -> str:
        return _url("redis", endpoints.redis, user, self.passwords["redis"][user], "/0")

    def database_url(self, endpoints: Endpoints, user: str, database: str | None = None) -> str:
        return _url(
            "postgresql",
            endpoints.postgres,
            database_role(user),
            self.passwords["postgres"][user],
            f"/{quote(database or endpoints.database)}"
            + (f"?{endpoints.postgres_options}" if endpoints.postgres_options else ""),
        )


def database_role(user: str) -> str:
    return f"signalbox_{user}"


def _url(scheme: str, where: str, user: str, password: str, path: str = "") -> str:
    if "://" in where:
        return where
    return f"{scheme}://{quote(user)}:{quote(password)}@{where}{path}"


@contextmanager
def locked(path: Path, mode: int = 0o600) -> Iterator[None]:
    """Whoever reads a file to change it does so alone; the kernel lets go of the lock with the process."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=folder_mode(mode))
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def plain_postgres_url(url: str) -> str:
    """As every client reads it, without the driver that one of them is told by `postgresql+asyncpg://`."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql{separator}{rest}" if scheme.partition("+")[0] in _POSTGRES else url


def database_of(admin_url: str) -> str:
    """The one that the URL names; an administrator's own is not meant."""
    name = unquote(urlsplit(admin_url).path.removeprefix("/"))
    return DATABASE if name in ("", MAINTENANCE) else name


def write_server_files(
    directory: Path, credentials: Credentials, endpoints: Endpoints, mode: int = 0o600
) -> None:
    """What servers in containers start with, and the administrator's URLs for provisioning."""
    nats_port = endpoints.nats.rpartition(":")[2]
    config = nats_config(credentials, listen=f"0.0.0.0:{nats_port}", store="/data", monitor="127.0.0.1:8222")
    write_secret(directory / "nats" / "nats.conf", config, mode)
    write_secret(directory / "redis" / "users.acl", redis_acl(credentials), mode)
    write_secret(directory / "postgres" / "password", credentials.passwords["postgres"][ADMIN], mode)
    write_secret(directory / "provision" / "nats-url", credentials.nats_url(endpoints, ADMIN), mode)
    write_secret(
        directory / "provision" / "database-url", postgres_admin_url(credentials, endpoints.postgres)
    )
    credentials.save(directory / "provision" / "secrets.json", mode)


def write_operator_files(
    directory: Path,
    credentials: Credentials,
    endpoints: Endpoints,
    postgres_admin: str,
    mode: int = 0o600,
) -> None:
    """What `signalbox status`, `dlq` and `demo` look into the servers with."""
    own = directory / "operator"
    database = urlsplit(postgres_admin)._replace(path=f"/{quote(endpoints.database)}").geturl()
    write_secret(own / "nats-url", credentials.nats_url(endpoints, OPERATOR), mode)
    write_secret(own / "database-url", database, mode)


def postgres_admin_url(credentials: Credentials, where: str) -> str:
    return f"postgresql://{ADMIN}:{credentials.passwords['postgres'][ADMIN]}@{where}/{MAINTENANCE}"


def write_service_files(
    directory: Path, credentials: Credentials, endpoints: Endpoints, mode: int = 0o600
) -> None:
    """`<directory>/<service>/{nats-url,redis-url,database-url,secret-key,trust-anchor,…}`."""
    anchor = RootKey.parse(credentials.root_key).anchor
    for service in PROGRAMS:
        own = directory / service
        write_secret(own / "nats-url", credentials.nats_url(endpoints, service), mode)
        write_secret(own / "trust-anchor", anchor, mode)
        write_secret(own / "redis-url", credentials.redis_url(endpoints, service), mode)
        if service not in ("gateway", FANOUT):
            write_secret(own / "database-url", credentials.database_url(endpoints, service), mode)
        write_secret(own / "secret-key", credentials.secret_key_of(service), mode)
    write_secret(directory / "auth" / "admin-password", credentials.admin_password, mode)
    write_secret(directory / "auth" / "root-key", credentials.root_key, mode)


def service_environment(directory: Path, service: str) -> dict[str, str]:
    """The settings that point a service at its files."""
    own = directory / service
    names = {
        "NATS_URL_FILE": own / "nats-url",
        "REDIS_URL_FILE": own / "redis-url",
        "DATABASE_URL_FILE": own / "database-url",
        "SECRET_KEY_FILE": own / "secret-key",
        "SIGNALBOX_ADMIN_PASSWORD_FILE": own / "admin-password",
        "SIGNALBOX_TRUST_ANCHOR_FILE": own / "trust-anchor",
        "SIGNALBOX_ROOT_KEY_FILE": own / "root-key",
    }
    return {name: str(path) for name, path in names.items() if path.exists()}


def nats_config(
    credentials: Credentials,
    *,
    listen: str,
    store: str,
    monitor: str | None = None,
    topology: Topology | None = None,
) -> str:
    """The server's configuration, users and permissions included."""
    topology = topology or Topology()
    users: dict[str, list[str]] = {}
    for user in USERS:
        entry = _nats_user(user, credentials.passwords["nats"][user], of_user(user, topology))
        users.setdefault(account_of(user), []).append(entry)
    for name, publisher in sorted(credentials.publishers.items()):
        user = publisher.user(name)
        rights = of_publisher(publisher.project, f"_INBOX.{user}")
        users[account_of_publisher(name)] = [_nats_user(user, publisher.password, rights)]
    between = crossings(topology, {name: each.project for name, each in credentials.publishers.items()})
    lines = [
        f"listen: {_quoted(listen)}",
        "server_name: signalbox",
        f"max_payload: {MAX_PAYLOAD}",
        "jetstream {",
        f"  store_dir: {_quoted(store)}",
        "  sync_interval: always",
        "  max_file_store: 16GB",
        "}",
        "authorization { timeout: 5 }",
        "accounts {",
        *(line for account, own in users.items() for line in _account(account, own, between)),
        "}",
    ]
    if monitor is not None:
        lines.insert(1, f"http: {_quoted(monitor)}")
    return "\n".join(lines) + "\n"


def _account(name: str, users: list[str], between: list[Crossing]) -> list[str]:
    return [
        f"  {name} {{",
        *(["    jetstream: enabled"] if name == STREAMS else []),
        "    exports: [",
        *(f"      {json.dumps(each)}" for each in exports(name, between)),
        "    ]",
        "    imports: [",
        *(f"      {json.dumps(each)}" for each in imports(name, between)),
        "    ]",
        "    users: [",
        *(f"      {each}" for each in users),
        "    ]",
        "  }",
    ]


def _quoted(text: str) -> str:
    """As nats-server reads it: it knows no \\u escapes."""
    return json.dumps(text, ensure_ascii=False)


def _nats_user(user: str, password: str, permissions: Permissions) -> str:
    entry: dict[str, object] = {"user": user, "password": password}
    if permissions.publish is not None and permissions.subscribe is not None:
        entry["permissions"] = {
            "publish": {"allow": permissions.publish, "deny": permissions.deny_publish},
            "subscribe": {"allow": permissions.subscribe},
            "allow_responses": {"max": 1, "expires": "2m"},
        }
    return json.dumps(entry)


def redis_acl(credentials: Credentials) -> str:
    lines = ["user default off"]
    for user in USERS:
        rules = " ".join(redis_rules(user))
        lines.append(f"user {user} on >{credentials.passwords['redis'][user]} {rules}")
    return "\n".join(lines) + "\n"
