"""Unit tests, which live beside the code that they test, reach no network."""

import socket
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.path.is_relative_to(request.config.rootpath / "tests"):
        return

    def refuse(_socket: socket.socket, address: Any) -> None:
        raise AssertionError(f"a unit test wants to connect to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
