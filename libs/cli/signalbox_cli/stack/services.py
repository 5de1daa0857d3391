"""The six services, and the role beside the gateway, as programs of the native stack."""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from signalbox_cli.provision.credentials import Endpoints, service_environment
from signalbox_cli.stack import sandboxes
from signalbox_cli.stack.home import Home
from signalbox_cli.stack.modules import MODULES
from signalbox_cli.stack.program import Program, Sockets, first_lines, is_free
from signalbox_common.programs import PROGRAMS, SERVICES

GATEWAY = SERVICES[0]
GATEWAY_WORKERS = "SIGNALBOX_GATEWAY_WORKERS"
MOST = 64


class BadSetting(ValueError):
    """Carries what the person is to be told."""


def programs(
    home: Home, sockets: Sockets, endpoints: Endpoints, *, gateway_fd: int, instances: Mapping[str, int]
) -> list[Program]:
    """Each service with its own credentials, and with none of anybody else's."""
    first = [_program(service, home, sockets, gateway_fd) for service in PROGRAMS]
    more = [
        _program(service, home, sockets, gateway_fd, name=f"{service}-{number}")
        for service in PROGRAMS
        for number in range(2, instances.get(service, 1) + 1)
    ]
    servers = (endpoints.postgres, endpoints.redis, endpoints.nats)
    own = [*(f"127.0.0.1:{port}" for port in sockets.ports), *map(_address, servers)]
    return [*first, *more, *sandboxes.programs(home, filter(None, own))]


def _address(endpoint: str) -> str:
    """`host:port`, also of a whole URL; nothing where no port is named."""
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    return f"{parts.hostname}:{parts.port}" if parts.port else ""


def wanted_instances() -> dict[str, int]:
    """How many processes of each program there are to be: those of the gateway share its port."""
    wanted = {program: _number(f"SIGNALBOX_{program.upper()}_INSTANCES") for program in PROGRAMS}
    return wanted | {GATEWAY: max(wanted[GATEWAY], _number(GATEWAY_WORKERS))}


def _number(setting: str) -> int:
    text = os.environ.get(setting) or "1"
    if not (text.isdecimal() and 1 <= int(text) <= MOST):
        raise BadSetting(f"{setting} is a number from 1 to {MOST}, not {text!r}")
    return int(text)


def _health_port(name: str) -> int:
    """Where somebody collects metrics, and has said so."""
    setting = f"SIGNALBOX_{name.upper().replace('-', '_')}_HEALTH_PORT"
    text = os.environ.get(setting) or "0"
    if not (text.isdecimal() and int(text) < 65536):
        raise BadSetting(f"{setting} is a port, not {text!r}")
    if text != "0" and not is_free(int(text)):
        raise BadSetting(f"port {text} is taken: set {setting} to another one")
    return int(text)


def _program(
    service: str, home: Home, sockets: Sockets, gateway_fd: int, *, name: str | None = None
) -> Program:
    health_fd, health_port = sockets.listen(_health_port(name or service))
    listening = {"SIGNALBOX_HEALTH_FD": health_fd}
    if service == GATEWAY:
        listening["SIGNALBOX_LISTEN_FD"] = gateway_fd
    env = {
        # What names the servers for the supervisor is not for the services: they have files of their own.
        **dict.fromkeys(("DATABASE_URL", "REDIS_URL", "NATS_URL", "SECRET_KEY", "SIGNALBOX_TOKEN"), ""),
        **({"GITHUB_TOKEN": ""} if service != "git" else {}),
        **service_environment(home.credentials, service),
        "SIGNALBOX_SECRETS_DIR": str(home.secrets),
        "SIGNALBOX_DISK_PATH": str(home.path),
        "SIGNALBOX_DATA_LISTEN": f"unix:{home.path / 'run' / (name or service)}.sock",
        "SIGNALBOX_SANDBOXES": str(sandboxes.folder(home)),
        "SIGNALBOX_TREES": str(sandboxes.trees(home)),
        "SIGNALBOX_GIT_ROOT": os.environ.get("SIGNALBOX_GIT_ROOT") or str(home.path / "repositories"),
        "SIGNALBOX_CHANGES": str(home.path / "changes"),
        "SIGNALBOX_MIRRORS": os.environ.get("SIGNALBOX_MIRRORS") or str(home.path / "mirrors"),
        "SIGNALBOX_TEMPLATES": str(sandboxes.templates(home)),
    }

    async def ready() -> bool:
        return await http_ok(health_port, "/health/ready")

    return Program(
        name=name or service,
        kind="service",
        module=MODULES[service],
        env=env,
        sockets=listening,
        health_port=health_port,
        is_edge=service == GATEWAY,
        ready=ready,
        stop_patience=float(os.environ.get("SIGNALBOX_SHUTDOWN_GRACE", "10")) + 5,
    )


async def http_ok(port: int, path: str) -> bool:
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    return any(b" 200 " in line for line in await first_lines(port, request.encode()))
