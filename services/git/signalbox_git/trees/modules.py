"""Lays submodules out in a tree, as `git submodule update` would: files, and a git directory for each."""

import asyncio
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from signalbox_git.domain import CheckoutOptions
from signalbox_git.mirrors.gitmodules import ModuleRefused
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.modules import FetchedModule
from signalbox_git.trees.bounds import TreeTooLarge, size_of
from signalbox_git.trees.maker import TreeMaker, leads_on

_DRAFT = "module"
_BRANCH = "module"
"""While it is made: afterwards it is on no branch."""


class ModuleLayer:
    def __init__(self, maker: TreeMaker) -> None:
        self._maker = maker

    async def check_size(self, mirror: Mirror, commit: str, modules: Iterable[FetchedModule]) -> None:
        """Of all together; raises TreeTooLarge."""
        rest = self._maker.largest - await size_of(mirror, commit)
        for each in (inner for module in modules for inner in module.all):
            rest -= await size_of(each.mirror, each.module.commit)
            if rest < 0:
                raise TreeTooLarge

    async def add(
        self,
        folder: Path,
        modules: Iterable[FetchedModule],
        options: CheckoutOptions,
        tree: str = "",
        git: str = "",
    ) -> None:
        """Into the tree in that folder; `tree` and `git` are where theirs is within it.

        Raises ModuleRefused and TreeTooLarge.
        """
        active = []
        for fetched in modules:
            at, of = _joined(tree, fetched.module.path), _joined(git, "modules", fetched.module.name)
            if await self._add(folder, fetched, options, at, of):
                active.append(fetched.module.name)
                await self.add(folder, fetched.modules, options, at, of)
        if active:
            with (folder / "git" / git / "config").open("a", encoding="utf-8") as config:
                config.writelines(f'[submodule "{name}"]\n\tactive = true\n' for name in active)
            self._maker.own(folder / "git" / git / "config")

    async def _add(
        self, folder: Path, fetched: FetchedModule, options: CheckoutOptions, tree: str, git: str
    ) -> bool:
        """False where its path is not laid out."""
        place = folder / "tree" / tree
        if leads_on(folder / "tree", tree):
            raise ModuleRefused(f"A link is on the way to the submodule at {tree}.")
        if options.sparse and not place.exists():
            return False
        draft, commit = folder / _DRAFT, fetched.module.commit
        draft.mkdir(mode=0o755)
        await self._maker.make(draft, fetched.mirror, commit, CheckoutOptions(_BRANCH, options.depth))
        await asyncio.to_thread(_detached, draft / "git", commit, tree, git)
        to_git = _way(tree, _joined(".git", git))
        (draft / "tree" / ".git").write_text(f"gitdir: {to_git}\n", encoding="utf-8")
        (folder / "git" / git).parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        place.mkdir(exist_ok=True)
        (draft / "tree").rename(place)  # git has left an empty folder there
        (draft / "git").rename(folder / "git" / git)
        draft.rmdir()
        await asyncio.to_thread(self._give, folder, tree, git)
        return True

    def _give(self, folder: Path, tree: str, git: str) -> None:
        """What is new, and the folders that something new is in."""
        self._maker.hand_over(folder / "git" / git)
        self._maker.own(folder / "tree" / tree / ".git")
        for root, path in ((folder / "tree", tree), (folder / "git", git)):
            for each in (path, *map(str, Path(path).parents)):
                self._maker.own(root / each)


def _detached(folder: Path, commit: str, tree: str, git: str) -> None:
    """On no branch, with its files where they are in a workspace."""
    (folder / "HEAD").write_text(f"{commit}\n", encoding="ascii")
    for name in ("refs/heads", "logs"):
        shutil.rmtree(folder / name, ignore_errors=True)
    config = (folder / "config").read_text(encoding="utf-8")
    at = f'[core]\n\tworktree = "{_way(_joined(".git", git), tree)}"\n'
    (folder / "config").write_text(config.replace("[core]\n", at, 1), encoding="utf-8")


def _way(start: str, end: str) -> str:
    """From one folder of a workspace to another."""
    return os.path.relpath(f"/{end}", f"/{start}")


def _joined(*parts: str) -> str:
    return "/".join(filter(None, parts))
