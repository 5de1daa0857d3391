"""Lays out in a tree what LFS keeps, in place of the pointers; nothing looks changed to git by that."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

from signalbox_git.command import AnsweredTooMuch, GitDirectory, TookTooLong
from signalbox_git.lfs.pointers import Listed, Pointer, listed
from signalbox_git.trees import index
from signalbox_git.trees.bounds import TreeTooLarge
from signalbox_git.trees.maker import MOMENT, TreeMaker, leads_on

_DRAFT = "lfs"
LfsFetch = Callable[[Mapping[str, int], Path], Awaitable[None]]
"""Brings objects, given with their sizes, into a folder."""


class LfsLayer:
    def __init__(self, maker: TreeMaker) -> None:
        self._maker = maker

    async def add(self, folder: Path, fetch: LfsFetch) -> None:
        """Into the tree in that folder, where it is not there yet. Raises TreeTooLarge."""
        git = GitDirectory(folder / "git")
        found = await _listed(git)
        if found.size + sum(each.size for each in found.pointers) > self._maker.largest:
            raise TreeTooLarge
        tree, draft = folder / "tree", folder / _DRAFT
        wanted = await asyncio.to_thread(_laid_out, tree, found.pointers)
        if wanted:
            draft.mkdir(mode=0o700)
            await fetch({each.oid: each.size for each in wanted}, draft)
            await asyncio.to_thread(self._put, tree, draft, wanted)
            await asyncio.to_thread(shutil.rmtree, draft)
        sizes = {each.path: each.size for each in wanted}
        await asyncio.to_thread(self._remember, git.folder, sizes)

    def _put(self, tree: Path, draft: Path, wanted: Iterable[Pointer]) -> None:
        """As files of their own: what was there may be shared with other trees."""
        for each in wanted:
            path = tree / os.fsdecode(each.path)
            copy = draft / "copy"
            shutil.copyfile(draft / each.oid, copy)
            copy.chmod(path.stat().st_mode & 0o777)
            copy.replace(path)
            self._maker.own(path)
        for parent in {parent for each in wanted for parent in Path(os.fsdecode(each.path)).parents}:
            self._maker.own(tree / parent)

    def _remember(self, git: Path, sizes: Mapping[bytes, int]) -> None:
        """The index is newer than the files: else git would look into them all the same."""
        index.remember(git / "index", sizes, MOMENT)
        self._maker.own(git / "index")
        os.utime(git / "index", (MOMENT + 1, MOMENT + 1))
        self._maker.own(git)


async def _listed(git: GitDirectory) -> Listed:
    try:
        return await listed(git)
    except (AnsweredTooMuch, TookTooLong) as error:
        raise TreeTooLarge from error


def _laid_out(tree: Path, pointers: Iterable[Pointer]) -> list[Pointer]:
    """Those that are there as pointers: others are not in the part that is laid out, or already done."""
    found = []
    for each in pointers:
        path = os.fsdecode(each.path)
        if leads_on(tree, path) or not (tree / path).is_file():
            continue
        if (tree / path).stat().st_size == len(each.blob) and (tree / path).read_bytes() == each.blob:
            found.append(each)
    return found
