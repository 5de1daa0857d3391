"""Repositories with others in them, as people make them, and as they should not be."""

from pathlib import Path

from tests.support.checkouts import git


def gitmodules(*modules: tuple[str, str, str]) -> str:
    """Of names, paths and addresses."""
    return "".join(f'[submodule "{name}"]\n\tpath = {path}\n\turl = {url}\n' for name, path, url in modules)


def set_entries(
    folder: Path, entries: dict[str, tuple[str, str]], files: dict[str, str] | None = None
) -> str:
    """A commit on main with these paths: of a mode and an object; and with files beside them."""
    index = {"GIT_INDEX_FILE": str(folder / "index-of-test")}
    (folder / "index-of-test").unlink(missing_ok=True)
    git(folder, "read-tree", "main", env=index)
    given = dict(entries)
    for path, content in (files or {}).items():
        given[path] = ("100644", blob(folder, content))
    lines = "".join(f"{mode} {name}\t{path}\0" for path, (mode, name) in given.items())
    git(folder, "update-index", "-z", "--add", "--index-info", given=lines.encode(), env=index)
    return commit(folder, git(folder, "write-tree", env=index).strip())


def blob(folder: Path, content: str) -> str:
    return git(folder, "hash-object", "-w", "--stdin", given=content.encode()).strip()


def commit(folder: Path, tree: str) -> str:
    made = git(folder, "commit-tree", tree, "-p", "main", "-m", "Modules").strip()
    git(folder, "update-ref", "refs/heads/main", made)
    return made


def add_modules(folder: Path, *modules: tuple[str, str, str, str]) -> str:
    """Of names, paths, addresses and commits."""
    links = {path: ("160000", at) for _, path, _, at in modules}
    return set_entries(folder, links, {".gitmodules": gitmodules(*(each[:3] for each in modules))})


def head(folder: Path) -> str:
    return git(folder, "rev-parse", "main").strip()
