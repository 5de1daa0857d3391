"""Mirrors and trees as the service has them, a remote that answers what it likes, and canaries."""

import itertools
import select
import socket
import subprocess
import time
import uuid
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from signalbox_common.addresses import PrivateHosts
from signalbox_common.contracts.git import TreePath
from signalbox_common.errors import SignalboxError
from signalbox_git.command import GitDirectory
from signalbox_git.domain import HEADS, TAGS, CheckoutOptions
from signalbox_git.mirrors import reading
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential
from signalbox_git.trees.bounds import CannotBeLaidOut, TreeTooLarge
from signalbox_git.trees.maker import TreeMaker
from signalbox_git.trees.trees import Trees
from tests.support.hostile import Objects, ScriptedRepository
from tests.support.hostile_repositories import LAID_OUT, NAME_REFUSED, TOO_LARGE, Canary, Row
from tests.support.remotes import TOKEN, HttpRemote

PROJECT = uuid.uuid4()
_LARGEST = 64 * 1024 * 1024
_PATH: TypeAdapter[str] = TypeAdapter(TreePath)
_SECRET = b"nobody reads this\n"


@dataclass
class HostileLab:
    http: HttpRemote
    mirrors: Mirrors
    trees: Trees
    folder: Path
    canary: Canary
    listener: socket.socket
    good: Source
    _names: Iterator[int] = field(default_factory=itertools.count)

    @staticmethod
    @contextmanager
    def at(folder: Path) -> Iterator["HostileLab"]:
        outside = folder / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(_SECRET)
        with (
            HttpRemote.serving(folder / "served") as http,
            socket.create_server(("127.0.0.1", 0)) as listener,
        ):
            http.new("good.git")
            reach = Reach(folder / "root", PrivateHosts.parse("127.0.0.0/8"))
            mirrors = Mirrors(folder / "mirrors", reach, budget=1 << 40, fetch_within=60, largest=_LARGEST)
            trees = Trees(folder / "trees", TreeMaker(None, _LARGEST))
            canary = Canary(outside, listener.getsockname()[1])
            good = Source(PROJECT, uuid.uuid4(), http.url("good.git"), Credential(TOKEN))
            try:
                yield HostileLab(http, mirrors, trees, folder, canary, listener, good)
            finally:  # as deep as it may be, where a test has failed: pytest does not get so far
                subprocess.run(["rm", "-rf", str(folder)], check=True)

    def source(self, name: str) -> Source:
        return Source(PROJECT, uuid.uuid4(), self.http.url(name), Credential(TOKEN))

    def serve(self, row: Row) -> Source:
        made = row.make(Objects(), self.canary)
        name = f"hostile-{next(self._names)}.git"
        self.http.behaviours = [ScriptedRepository(name, made.refs, made.pack)]
        return self.source(name)

    async def outcome(self, row: Row) -> str:
        """How it ends; anything else than a clear refusal is raised."""
        return await self.outcome_of(self.serve(row), row.holds)

    async def outcome_of(
        self, source: Source, holds: Mapping[str, bytes | str] = MappingProxyType({})
    ) -> str:
        try:
            await self.mirrors.fetch(source, time.time())
        except RemoteRefused as refusal:
            return _refused(refusal)
        async with self.mirrors.held(source) as mirror:
            commit = await reading.resolve(mirror.git, "main", "main")
            await _look(mirror.git, commit)
            await self.mirrors.keep(source, commit)
            return await self._laid_out(source, commit, holds)

    async def _laid_out(self, source: Source, commit: str, holds: Mapping[str, bytes | str]) -> str:
        mirror, project = self.mirrors.of(source), self.folder / "trees" / str(PROJECT)
        before = {path.name for path in project.glob("*")}
        try:
            async with self.trees.made(mirror, PROJECT, commit, CheckoutOptions("main")) as name:
                for path, wanted in holds.items():
                    place = project / name / "tree" / path
                    assert (str(place.readlink()) if place.is_symlink() else place.read_bytes()) == wanted
                return LAID_OUT
        except (CannotBeLaidOut, TreeTooLarge) as refusal:
            how = NAME_REFUSED if isinstance(refusal, CannotBeLaidOut) else TOO_LARGE
        left = {path.name for path in project.glob("*")} - before
        assert not [each for each in left if not each.endswith(".making") and each != "checkouts"]
        return how

    def check_canaries(self) -> None:
        """That nothing was touched, and nobody was asked."""
        assert {path.name for path in self.canary.folder.iterdir()} == {"secret"}
        assert (self.canary.folder / "secret").read_bytes() == _SECRET
        assert select.select([self.listener], [], [], 0)[0] == []

    async def check_others(self) -> None:
        """That they go on."""
        self.http.behaviours = []
        await self.mirrors.fetch(self.good, time.time())
        async with self.mirrors.held(self.good) as mirror:
            assert await reading.blob(
                mirror.git, await reading.resolve(mirror.git, "main", None), "README.md"
            )


async def _look(git: GitDirectory, commit: str) -> None:
    """All that a person can ask for: answered within bounds, or refused."""
    for prefix in (HEADS, TAGS):
        for ref in await reading.refs(git, prefix, "", 50):
            assert len(ref.subject) <= 1000
            await _asked(reading.resolve(git, ref.name, "main"))
    for entry in await reading.log(git, commit, None, 50, 0):
        assert len(entry.subject) <= 1000
    await _asked(reading.show(git, commit))
    await _asked(reading.diff(git, None, commit, None))
    await _asked(reading.merge_base(git, commit, commit))
    listing = await _asked(reading.tree(git, commit, None))
    for each in listing.items[:20] if listing is not None else ():
        if not _can_be_asked_for(each.path):
            continue
        await _asked(reading.blob(git, commit, each.path))
        await _asked(reading.blame(git, commit, each.path))
        await _asked(reading.tree(git, commit, each.path))
        assert await _asked(reading.blob(git, commit, f"{each.path}/secret")) in (None, b"overwritten")


def _can_be_asked_for(path: str) -> bool:
    try:
        _PATH.validate_python(path)
    except ValidationError:
        return False
    return True


async def _asked(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except SignalboxError as refusal:
        return _none_of(refusal)


def _none_of(refusal: SignalboxError) -> None:
    assert refusal.status < 500


def _refused(refusal: RemoteRefused) -> str:
    assert refusal.detail.isprintable()
    assert TOKEN not in refusal.detail
    return f"refused: {refusal.reason}"
