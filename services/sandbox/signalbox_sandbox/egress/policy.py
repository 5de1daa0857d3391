"""Which hosts the programs of a sandbox may reach."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from signalbox_common.addresses import host_and_port, matches

USUAL_PORTS = frozenset({80, 443})
"""Of a host that is named without one."""


@dataclass(frozen=True)
class Policy:
    """`hosts` are names, addresses or `*.name`; with a port, that one alone."""

    public: bool = False
    hosts: tuple[str, ...] = ()

    @staticmethod
    def of(said: Mapping[str, Any]) -> "Policy":
        return Policy(bool(said.get("public")), tuple(map(str, said.get("hosts", ()))))

    @property
    def is_none(self) -> bool:
        return not self.public and not self.hosts

    def allows(self, host: str, port: int) -> bool:
        if self.public and port in USUAL_PORTS:
            return True
        return any(_is_meant(pattern, host, port) for pattern in self.hosts)


def _is_meant(pattern: str, host: str, port: int) -> bool:
    name, said = host_and_port(pattern.removeprefix("*."))
    ports = USUAL_PORTS if said is None else {said}
    return port in ports and matches(host, (f"*.{name}" if pattern.startswith("*.") else name,))
