"""Fetches the newest wheel of a package from the package index, checks it, and unpacks it into a folder.

`python3 fetch.py PACKAGE FOLDER`: it needs Python and nothing else.
"""

import hashlib
import io
import json
import platform
import re
import sys
import urllib.request
import zipfile
from pathlib import Path

INDEX = "https://pypi.org/simple"
TAGS = {"x86_64": r"manylinux\w*_x86_64", "aarch64": r"manylinux\w*_aarch64"}


def main(package: str, folder: Path) -> None:
    asked = urllib.request.Request(  # noqa: S310 - an address of ours
        f"{INDEX}/{package}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310 - as above
        files = json.load(answer)["files"]
    fits = re.compile(rf".*-(?:{TAGS[platform.machine()]}[\w.]*|any)\.whl")
    wheels = [each for each in files if fits.fullmatch(each["filename"]) and not each.get("yanked")]
    newest = max(wheels, key=lambda each: _version(each["filename"]), default=None)
    if newest is None:
        sys.exit(f"there is no wheel of {package} for {platform.machine()}")
    if not newest["url"].startswith("https://"):
        sys.exit(f"{newest['url']} is not where wheels come from")
    with urllib.request.urlopen(newest["url"], timeout=600) as answer:  # noqa: S310 - looked at above
        content = answer.read()
    if hashlib.sha256(content).hexdigest() != newest["hashes"]["sha256"]:
        sys.exit(f"{newest['filename']} is not what the index says")
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
        for member in archive.infolist():  # which modes are not among what is unpacked
            mode = member.external_attr >> 16 & 0o777
            if mode & 0o111:
                (folder / member.filename).chmod(mode)
    print(newest["filename"])


def _version(filename: str) -> tuple[bool, list[int]]:
    """Those that are no pre-release come last."""
    text = filename.split("-")[1]
    return re.fullmatch(r"[\d.]+", text) is not None, [int(part) for part in re.findall(r"\d+", text)]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
