"""What all tests share: unit tests, which live beside the code that they test, reach no network."""

import signal
import socket
from typing import Any

import pytest


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so all that this starts in turn."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.path.is_relative_to(request.config.rootpath / "tests"):
        return

    def refuse(_socket: socket.socket, address: Any) -> None:
        raise AssertionError(f"a unit test wants to connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
