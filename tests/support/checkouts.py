"""A checkout as git prepares it, made by a script, and what sandboxes have changed of it."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import uuid
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "a"),
    **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "a@example.com"),
    **dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "1000000000 +0000"),
}


def git(folder: Path, *arguments: str, given: bytes = b"", env: Mapping[str, str] | None = None) -> str:
    ran = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        input=given,
        env={"PATH": os.environ["PATH"]} | GIT | dict(env or {}),
        capture_output=True,
        check=True,
    )
    return ran.stdout.decode()


@dataclass(frozen=True)
class Checkout:
    id: str
    folder: Path
    commit: str

    @staticmethod
    def make(trees: Path, project: str, files: dict[str, bytes | str], uid: int) -> "Checkout":
        """Of one commit with these files; text for a link."""
        folder = trees / project / uuid.uuid4().hex
        tree = folder / "tree"
        tree.mkdir(parents=True)
        for name, content in files.items():
            path = tree / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, str):
                path.symlink_to(content)
            else:
                path.write_bytes(content)
                path.chmod(0o755 if name.endswith(".sh") else 0o644)
        git(tree, "init", "-q", "-b", "main")
        git(tree, "add", "-Af")
        git(tree, "commit", "-qm", "first")
        commit = git(tree, "rev-parse", "HEAD").strip()
        (tree / ".git").rename(folder / "git")
        for name in ("core.checkStat", "core.trustctime"):
            value = "minimal" if name == "core.checkStat" else "false"
            git(folder, "--git-dir=git", "config", name, value)
        for path in (folder, *folder.rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, uid, uid, follow_symlinks=False)
        identifier = str(uuid.uuid4())
        checkouts = trees / project / "checkouts"
        checkouts.mkdir(exist_ok=True)
        (checkouts / identifier).symlink_to(f"../{folder.name}")
        for path in (trees, trees / project, checkouts):
            path.chmod(0o755)
        return Checkout(identifier, folder, commit)

    def copy(self, target: Path) -> Path:
        """An ordinary clone of it."""
        shutil.copytree(self.folder / "tree", target, symlinks=True)
        shutil.copytree(self.folder / "git", target / ".git", symlinks=True)
        return target


@dataclass(frozen=True)
class ChangeSet:
    manifest: dict[str, Any]
    members: dict[str, bytes]

    @staticmethod
    def read(data: bytes) -> "ChangeSet":
        members = {}
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            names = archive.getnames()
            for name in names:
                file = archive.extractfile(name)
                assert file is not None
                members[name] = file.read()
        assert names[0] == "manifest.json"
        manifest = json.loads(members.pop("manifest.json"))
        assert names[1:] == [str(number) for number in range(len(names) - 1)]
        for entry in manifest["entries"]:
            if entry["kind"] != "deleted":
                content = members[entry["member"]]
                assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["size"], entry["sha256"])
        paths = [path_of(entry) for entry in manifest["entries"]]
        assert paths == sorted(set(paths))
        return ChangeSet(manifest, members)

    @property
    def kinds(self) -> dict[bytes, str]:
        return {path_of(entry): entry["kind"] for entry in self.manifest["entries"]}

    @property
    def left(self) -> dict[bytes, str]:
        return {path_of(entry): entry["why"] for entry in self.manifest["left"]}

    def apply(self, folder: Path) -> None:
        """Onto an ordinary clone: first what is gone, then what is there."""
        entries = self.manifest["entries"]
        for entry in entries:
            if entry["kind"] == "deleted":
                Path(folder, os.fsdecode(path_of(entry))).unlink()
        for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
            if not inner.is_symlink() and not any(inner.iterdir()):
                inner.rmdir()
        for entry in entries:
            path = Path(folder, os.fsdecode(path_of(entry)))
            if entry["kind"] == "deleted":
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            content = self.members[entry["member"]]
            if entry["kind"] == "link":
                path.unlink(missing_ok=True)
                path.symlink_to(os.fsdecode(content))
            else:
                path.unlink(missing_ok=True)
                path.write_bytes(content)
                path.chmod(0o755 if entry["mode"] == "100755" else 0o644)


def path_of(entry: dict[str, Any]) -> bytes:
    return b64decode(entry["pathBase64"]) if "pathBase64" in entry else entry["path"].encode()
