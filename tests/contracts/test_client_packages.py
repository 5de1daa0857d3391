"""What the client packs is what the catalog takes."""

from pathlib import Path

from signalbox_catalog.domain.packages import inspect
from signalbox_cli.catalog.packages import packed

SKILL = "---\nname: s\ndescription: Of use.\n---\nHow to.\n"


def test_a_directory_becomes_what_the_server_takes(tmp_path: Path) -> None:
    for name in ("SKILL.md", "lib/b.py", "lib/a.py", ".git/config", "lib/__pycache__/a.pyc", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(SKILL if name == "SKILL.md" else name)
    (tmp_path / "lib/b.py").chmod(0o700)
    (tmp_path / "empty").mkdir()
    found = inspect(packed(tmp_path))
    assert [(file.path, file.executable) for file in found.files] == [
        (".hidden", False),
        ("SKILL.md", False),
        ("lib/a.py", False),
        ("lib/b.py", True),
    ]
    assert found.description == "Of use."
