"""`make tools`: builds and installs what `make proof` asks, below `.tools`; what is there is left as it is.

All of it is pinned: Gitea by the sum of its module, and what it is built of by its own `go.sum`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".tools"
GITEA = "code.gitea.io/gitea"
GITEA_VERSION = "v1.26.0"
GITEA_SUMS = (
    "h1:fJP9dqLbzKrKWUVnCVTfVersZdVDuyJQLEDzCAOmKKA=",
    "h1:lQQerj+Xp70MDr1Cpxa85QmkS4ltqYpSyG++R77EFQQ=",
)
"""Of the module, and of its `go.mod`."""
PACKAGES = {"emulate": "0.11.2", "@octokit/openapi": "23.0.2"}
_KEPT = re.compile(r"^(?:go|godebug|replace) .*$", re.MULTILINE)


def main() -> None:
    for name in ("go", "npm"):
        if shutil.which(name) is None:
            sys.exit(f"{name} is needed to build the forges of the proofs; nothing else here needs it")
    build_gitea(PLACE / "gitea")
    install_packages(PLACE / "github")


def build_gitea(folder: Path) -> None:
    """Five minutes the first time: it is 165 MB of program."""
    program = folder / f"gitea-{GITEA_VERSION}"
    if program.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    source = module_folder(folder)
    requires = (source / "go.mod").read_text(encoding="utf-8")
    kept = "\n".join(_KEPT.findall(requires))
    module = f"module signalbox.invalid/tools\n\n{kept}\n\nrequire {GITEA} {GITEA_VERSION}\n"
    (folder / "go.mod").write_text(module, encoding="utf-8")
    own = f"{GITEA} {GITEA_VERSION} {GITEA_SUMS[0]}\n{GITEA} {GITEA_VERSION}/go.mod {GITEA_SUMS[1]}\n"
    (folder / "go.sum").write_text((source / "go.sum").read_text(encoding="utf-8") + own, encoding="utf-8")
    tags = "sqlite sqlite_unlock_notify"
    made = folder / "gitea-in-the-making"
    run(folder, "go", "build", "-mod=mod", "-trimpath", "-tags", tags, "-o", str(made), GITEA)
    for name in ("options", "templates", "public"):
        shutil.copytree(source / name, folder / name, dirs_exist_ok=True, copy_function=copied)
    made.rename(program)


def module_folder(folder: Path) -> Path:
    """Where Go keeps its source; raises where that is another one than is known."""
    said = json.loads(run(folder, "go", "mod", "download", "-json", f"{GITEA}@{GITEA_VERSION}"))
    if (said["Sum"], said["GoModSum"]) != GITEA_SUMS:
        sys.exit(f"the source of Gitea is not what it was: {said['Sum']}")
    return Path(said["Dir"])


def copied(source: str, target: str) -> str:
    """Go's own copies may not be written."""
    shutil.copyfile(source, target)
    return target


def install_packages(folder: Path) -> None:
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    known = {name: folder / "node_modules" / name / "package.json" for name in PACKAGES}
    if all(path.exists() and version_of(path) == PACKAGES[name] for name, path in known.items()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    run(folder, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", *wanted)


def version_of(package: Path) -> str:
    found: str = json.loads(package.read_text(encoding="utf-8"))["version"]
    return found


def run(folder: Path, *command: str) -> str:
    env = os.environ | {"GOFLAGS": ""}
    return subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
