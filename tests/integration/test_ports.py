"""Ports that are chosen for servers before these start."""

from pathlib import Path

from signalbox_cli.stack.program import free_port

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_outgoing_connection_takes_the_port_of_a_server() -> None:
    lowest = int(RANGE.read_text().split()[0]) if RANGE.exists() else 32_768

    assert all(port < lowest for port in [free_port() for _ in range(500)])


def test_no_two_servers_are_given_the_same_port() -> None:
    ports = [free_port() for _ in range(500)]

    assert len(set(ports)) == len(ports)
