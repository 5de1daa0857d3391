"""Makes a tree: its git directory from the mirror, its files from that, as sandboxes need them."""

import asyncio
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from signalbox_git.command import AnsweredTooMuch, GitDirectory, GitFailed, TookTooLong
from signalbox_git.domain import HEADS, CheckoutOptions
from signalbox_git.mirrors.mirror import Mirror, kept_ref
from signalbox_git.trees.bounds import CannotBeLaidOut, TreeTooLarge, size_of

MOMENT = 946_684_800
"""When every file was changed last: the same for all, so that nothing looks changed inside."""
MOST_PACKS = 32
"""Of a tree that another one is made from; beyond that all is packed anew."""
LARGEST = 10 * 1024 * 1024 * 1024
_WITHIN = 600.0
_LOCAL = (("protocol.file.allow", "always"), ("transfer.fsckObjects", "false"))
_CONFIG = """\
[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
\tcheckStat = minimal
\ttrustctime = false
[user]
\tname = Agent
\temail = agent@signalbox.invalid
"""
_NO_NAME = re.compile("file name too long|invalid path", re.IGNORECASE)
_SPARSE = "\tsparseCheckout = true\n\tsparseCheckoutCone = true\n"


@dataclass(frozen=True)
class Made:
    """A tree that is there, of the same repository and with the same folders."""

    folder: Path
    commit: str


class TreeMaker:
    def __init__(self, uid: int | None, largest: int = LARGEST) -> None:
        """`uid` is whose sandboxes are outside, where that is not who we are; `largest` is in bytes."""
        self._uid = uid
        self._largest = largest

    async def make(
        self, folder: Path, mirror: Mirror, commit: str, options: CheckoutOptions, like: Made | None = None
    ) -> None:
        """Where another tree is there, only what differs is written: the rest are links to its files.

        Raises TreeTooLarge and CannotBeLaidOut.
        """
        if await size_of(mirror, commit) > self._largest:
            raise TreeTooLarge
        if like is not None:
            try:
                await self._make_like(folder, mirror, commit, options, like)
                return
            except (
                GitFailed,
                TookTooLong,
                AnsweredTooMuch,
                OSError,
            ):  # it is on its way out, or too different
                await asyncio.to_thread(_emptied, folder)
        (folder / "tree").mkdir(mode=0o755)
        git = self._prepare(folder / "git", options)
        await git.run(
            *("fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"),
            *("--update-head-ok", f"--depth={options.depth}", "--end-of-options"),
            *(str(mirror.git.folder.resolve()), f"+{kept_ref(commit)}:{HEADS}{options.branch}"),
            config=_LOCAL,
            within=_WITHIN,
        )
        await self._check_out(folder, git, "HEAD")

    async def _make_like(
        self, folder: Path, mirror: Mirror, commit: str, options: CheckoutOptions, like: Made
    ) -> None:
        await asyncio.to_thread(self._linked, like.folder, folder)
        git = self._prepare(folder / "git", options)
        wanted = f"{commit}\n^{like.commit}\n".encode("ascii")
        pack = str((git.folder / "objects" / "pack" / "pack").absolute())
        await mirror.git.run("pack-objects", "--revs", "--quiet", pack, given=wanted, within=_WITHIN)
        await git.run("update-ref", f"{HEADS}{options.branch}", commit)
        # Its history may go on where that of the other one was cut; then all of it is fetched anew.
        await git.run("rev-list", "--objects", "--quiet", "HEAD", within=_WITHIN)
        listing = ("diff-tree", "-r", "-z", "--no-renames", "--name-only", "--diff-filter=d")
        said = await git.run(*listing, like.commit, commit)
        changed = [os.fsdecode(path) for path in said.split(b"\0") if path]
        if options.lfs and await _attributes_differ(git, like.commit, commit):
            raise FileNotFoundError("other files are kept by LFS")
        await self._check_out(folder, git, like.commit, commit, changed=changed)

    async def _check_out(
        self, folder: Path, git: GitDirectory, *commits: str, changed: list[str] | None = None
    ) -> None:
        """`changed` are the paths that are not as they were in what it is made of; None stands for all."""
        tree = folder / "tree"
        at_work = {"GIT_WORK_TREE": str(tree.resolve())}
        try:
            await git.run("read-tree", "-m", "-u", *commits, env=at_work, within=_WITHIN, in_folder=tree)
        except GitFailed as error:
            if _NO_NAME.search(error.complaint):
                raise CannotBeLaidOut("It has a name that no folder takes.") from error
            raise
        if changed is None:
            await asyncio.to_thread(self.hand_over, tree)
        else:
            await asyncio.to_thread(self._hand_over_these, tree, changed)
        await git.run("update-index", "-q", "--refresh", env=at_work, within=_WITHIN, in_folder=tree)
        await asyncio.to_thread(self.hand_over, git.folder)

    @staticmethod
    def _prepare(folder: Path, options: CheckoutOptions) -> GitDirectory:
        git = GitDirectory.make(folder)
        (folder / "HEAD").write_text(f"ref: {HEADS}{options.branch}\n", encoding="utf-8")
        config = _CONFIG
        if options.sparse:
            config = config.replace("[user]", f"{_SPARSE}[user]")
            (folder / "info").mkdir()
            (folder / "info" / "sparse-checkout").write_text(_cone(options.sparse), encoding="utf-8")
        (folder / "config").write_text(config, encoding="utf-8")
        return git

    def hand_over(self, folder: Path) -> None:
        """To the user of sandboxes: only what is theirs can be changed above it. All with the same time."""
        waiting = [str(folder)]
        while waiting:
            place = waiting.pop()
            with os.scandir(place) as entries:
                for entry in entries:
                    self._own(entry.path)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        self._own(str(folder))

    def _hand_over_these(self, tree: Path, changed: list[str]) -> None:
        """The same of what has been written anew, and of the folders that it is in: never through a link."""
        folders = {str(parent) for path in changed for parent in Path(path).parents}
        real = {path for path in sorted(folders) if Path(tree, path).is_dir() and not leads_on(tree, path)}
        for path in (*(each for each in changed if str(Path(each).parent) in real), *real):
            with suppress(FileNotFoundError):  # it is not laid out
                self._own(f"{tree}/{path}")

    def own(self, path: Path) -> None:
        """One alone, as of a draft that is under its name: it has the time of its making."""
        self._own(str(path))

    def _own(self, path: str) -> None:
        found = os.stat(path, follow_symlinks=False)  # noqa: PTH116 - many
        if int(found.st_mtime) != MOMENT:
            os.utime(path, (MOMENT, MOMENT), follow_symlinks=False)
        if self._uid is not None and found.st_uid != self._uid:
            os.chown(path, self._uid, self._uid, follow_symlinks=False)

    @property
    def largest(self) -> int:
        return self._largest

    def _linked(self, source: Path, target: Path) -> None:
        """Files and objects are never changed in place, so that they can be shared; all else is one's own."""
        packs = list((source / "git" / "objects" / "pack").glob("*.pack"))
        if len(packs) > MOST_PACKS:
            raise FileNotFoundError("too many packs")
        self._link_all(source / "tree", target / "tree")
        self._link_all(source / "git" / "objects", target / "git" / "objects")
        for name in ("index", "shallow"):  # those of submodules stay where they are
            with suppress(FileNotFoundError):
                shutil.copyfile(source / "git" / name, target / "git" / name)

    def _link_all(self, source: Path, target: Path) -> None:
        """Folders are one's own."""
        waiting = [(str(source), str(target))]
        made = []
        while waiting:
            place, folder = waiting.pop()
            os.makedirs(folder, mode=0o755, exist_ok=True)  # noqa: PTH103 - many
            made.append(folder)
            if os.path.lexists(f"{place}/.git"):  # a submodule: laid out anew where it is wanted
                continue
            with os.scandir(place) as entries:
                for entry in entries:
                    there = f"{folder}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, there))
                    else:
                        os.link(entry.path, there, follow_symlinks=False)
        for folder in reversed(made):
            self._own(folder)


async def _attributes_differ(git: GitDirectory, one: str, other: str) -> bool:
    said = await git.run("diff-tree", "-r", "-z", "--no-renames", "--name-only", one, other)
    return any(path.rpartition(b"/")[2] == b".gitattributes" for path in said.split(b"\0"))


def leads_on(tree: Path, path: str) -> bool:
    """Whether there is a link on the way."""
    return any(Path(tree, each).is_symlink() for each in (path, *map(str, Path(path).parents)) if each != ".")


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir(mode=0o755)


def _cone(folders: Iterable[str]) -> str:
    """As `git sparse-checkout set --cone` writes it: what lies beside the way to a folder, and all in it."""
    whole = {folder.strip("/") for folder in folders}
    parts = [folder.split("/") for folder in whole]
    parents = {"/".join(each[:length]) for each in parts for length in range(1, len(each))}
    lines = ["/*", "!/*/"]
    for folder in sorted(whole | parents):
        lines.append(f"/{folder}/")
        if folder not in whole:
            lines.append(f"!/{folder}/*/")
    return "\n".join(lines) + "\n"
