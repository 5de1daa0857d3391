"""Directories as packages of skills."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from signalbox_cli.catalog import packages
from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.packages import packed

SKILL = "---\nname: s\ndescription: Of use.\n---\nHow to.\n"


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    folder = tmp_path / "skill"
    for name in ("SKILL.md", "lib/b.py", "lib/a.py", ".git/config", "lib/__pycache__/a.pyc", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SKILL if name == "SKILL.md" else name)
    (folder / "lib/b.py").chmod(0o700)
    (folder / "empty").mkdir()
    return folder


def test_the_same_directory_is_the_same_package(skill: Path, tmp_path: Path) -> None:
    first = packed(skill)
    again = tmp_path / "again"
    for path in sorted(skill.rglob("*"), reverse=True):
        if path.is_file():
            copy = again / path.relative_to(skill)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            copy.chmod(path.stat().st_mode & 0o744)
            os.utime(copy, (1, 2_000_000_000))
    assert packed(again) == first
    (again / "SKILL.md").write_text(SKILL + "more\n")
    assert packed(again) != first


def test_a_zip_stays_as_it_is(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("SKILL.md", SKILL)
    (tmp_path / "s.zip").write_bytes(buffer.getvalue())
    assert packed(tmp_path / "s.zip") == buffer.getvalue()


def test_links_and_emptiness_are_refused(skill: Path, tmp_path: Path) -> None:
    (skill / "link").symlink_to("/etc/passwd")
    with pytest.raises(Mistake, match="link is a symbolic link"):
        packed(skill)
    (skill / "link").unlink()
    os.mkfifo(skill / "pipe")
    with pytest.raises(Mistake, match="pipe is neither a file nor a folder"):
        packed(skill)
    (tmp_path / "none" / ".git").mkdir(parents=True)
    with pytest.raises(Mistake, match="there are no files in"):
        packed(tmp_path / "none")
    with pytest.raises(Mistake, match="cannot be read: No such file"):
        packed(tmp_path / "absent")


def test_what_is_too_large_is_noticed_while_it_grows(
    skill: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "MAX_PACKAGE", 1024 * 1024)
    (skill / "noise").write_bytes(os.urandom(2 * 1024 * 1024))
    with pytest.raises(Mistake, match="skill is larger than 1 MiB as a ZIP"):
        packed(skill)
    (tmp_path / "big.zip").write_bytes(b"0" * (1024 * 1024 + 1))
    with pytest.raises(Mistake, match=r"big\.zip is larger than 1 MiB"):
        packed(tmp_path / "big.zip")
