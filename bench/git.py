"""`python -m bench.git`: what a checkout and a delivery cost, beside plain git against the same server."""

import argparse
import asyncio
import io
import os
import random
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.report import Figure, Report, Target, at_most, console
from bench.servers import ROOT
from signalbox_common.addresses import PrivateHosts
from signalbox_git.commits import changes as reading
from signalbox_git.commits.quarantine import Authorship, Person, Quarantine
from signalbox_git.domain import CheckoutOptions
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.remotes.access import Reach
from signalbox_git.trees.maker import TreeMaker
from signalbox_git.trees.trees import Trees
from tests.support.checkouts import GIT, git
from tests.support.commits import Asked, packed
from tests.support.remotes import HttpRemote

RESULTS = ROOT / "bench/results/git.json"
ROUNDS = 5
FILES, COMMITS, CHANGED, MANY = 5000, 2000, 10, 50
UID = 64_000 if os.geteuid() == 0 else None
AGAIN, NEW, FIRST = "prepare again", "prepare of a new commit", "prepare of the first commit"
CLONE, PARALLEL = "git clone --depth 1", f"{MANY} prepares at once"
DELIVER, PUSH = f"deliver {CHANGED} files", f"git commit and push of {CHANGED} files"
TARGETS: dict[str, Target] = {
    AGAIN: at_most(15),
    "new commit, of a clone": at_most(1 / 3),
    f"{MANY} at once, of one": at_most(4),
    "deliver, of plain git": at_most(1.3),
}


def _history() -> Iterator[bytes]:
    """As `git fast-import` reads it: many files, and some of them changed by each commit."""
    chance = random.Random(1)
    words = [f"word{number}" for number in range(2000)]
    for commit in range(COMMITS):
        subject = f"commit {commit}".encode()
        head = b"commit refs/heads/main\ncommitter a <a@example.com> %d +0000\ndata %d\n%b\n"
        yield head % (1_000_000_000 + commit * 60, len(subject), subject)
        for number in range(FILES) if commit == 0 else chance.sample(range(FILES), 5):
            lines = (" ".join(chance.choices(words, k=8)) for _ in range(40))
            content = "\n".join(lines).encode()
            path = f"folder{number % 50}/part{number % 7}/file{number}.txt".encode()
            yield b"M 100644 inline %b\ndata %d\n%b\n" % (path, len(content), content)


def generate(folder: Path) -> None:
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "--bare", "-b", "main")
    git(folder, "config", "http.receivepack", "true")
    git(folder, "fast-import", "--quiet", given=b"".join(_history()))
    git(folder, "repack", "-adq")


@dataclass
class Bench:
    folder: Path
    remote: HttpRemote
    mirrors: Mirrors
    trees: Trees
    source: Source

    @property
    def url(self) -> str:
        return self.source.url

    async def prepare(self, commit: str) -> None:
        """What the service does for a checkout, but for its rows."""
        async with self.mirrors.fresh(self.source, 0.0) as mirror:
            await self.mirrors.keep(self.source, commit)
            async with self.trees.made(mirror, self.source.project, commit, CheckoutOptions("main")) as name:
                self.trees.link(self.source.project, uuid.uuid4(), name)

    async def commits(self) -> list[str]:
        said = await self.mirrors.of(self.source).git.line("rev-list", "--max-count=200", "refs/heads/main")
        return said.split()[::-1]

    async def deliver(self, base: str, branch: str, changes: bytes) -> None:
        async with self.mirrors.fresh(self.source, 0.0) as mirror:
            mirror.making.mkdir(exist_ok=True)
            by = Authorship(Person("a", "a@x"), Person("b", "b@x"), datetime.now(UTC), "Change\n")
            async with Quarantine.beside(mirror.git.folder, mirror.making) as quarantine:
                commit = str(await quarantine.commit(base, reading.read(io.BytesIO(changes)), by))
                await quarantine.accept(commit, base)
            await self.mirrors.keep(self.source, commit)
            async with self.mirrors.at(self.source) as there:
                await there.push(mirror.git, commit, branch, None)


async def timed(step: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    await step()
    return (time.perf_counter() - begun) * 1000


async def run(*words: str, cwd: Path | None = None) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **GIT}
    process = await asyncio.create_subprocess_exec(*words, cwd=cwd, env=env, stderr=subprocess.DEVNULL)
    if await process.wait() != 0:
        raise RuntimeError(" ".join(words))


def _changes(number: int) -> Asked:
    paths = (f"folder{each}/part0/new{number}.txt" for each in range(CHANGED))
    return {path.encode(): ("100644", f"{number}\n".encode() * 200) for path in paths}


async def one_round(
    bench: Bench, number: int, commits: list[str], note: Callable[[str, float], None]
) -> None:
    async def clone() -> None:
        target = bench.folder / f"clone-{uuid.uuid4().hex}"
        await run("git", "clone", "-q", "--depth", "1", bench.url, str(target))

    new = commits[2 * number + 2]
    ours = await timed(lambda: bench.prepare(new))
    theirs = await timed(clone)
    note(NEW, ours)
    note(CLONE, theirs)
    note("new commit, of a clone", ours / theirs)
    note(AGAIN, await timed(lambda: bench.prepare(new)))
    many = commits[2 * number + 3]
    at_once = await timed(lambda: asyncio.gather(*(bench.prepare(many) for _ in range(MANY))))
    note(PARALLEL, at_once)
    note(f"{MANY} at once, of one", at_once / ours)
    await _deliveries(bench, number, commits[-1], note)


async def _deliveries(bench: Bench, number: int, base: str, note: Callable[[str, float], None]) -> None:
    changes = packed(base, _changes(number))
    ours = await timed(lambda: bench.deliver(base, f"ours-{number}", changes))
    work = bench.folder / f"work-{number}"
    await run("git", "clone", "-q", "--depth", "1", bench.url, str(work))
    for path, entry in _changes(number).items():
        if entry is not None:
            (work / path.decode()).write_bytes(entry[1])

    async def plain() -> None:
        await run("git", "add", "-A", cwd=work)
        await run("git", "commit", "-qm", "Change", cwd=work)
        await run("git", "push", "-q", "origin", f"HEAD:refs/heads/theirs-{number}", cwd=work)

    theirs = await timed(plain)
    note(DELIVER, ours)
    note(PUSH, theirs)
    note("deliver, of plain git", ours / theirs)


async def measure(report: Report, *, rounds: int) -> None:
    found = dict[str, list[float]]()

    def note(name: str, value: float) -> None:
        console.print(f"{name}: {value:.2f}", style="dim")
        found.setdefault(name, []).append(value)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sbx-bench-")))
        generate(folder / "served" / "app.git")
        remote = stack.enter_context(HttpRemote.serving(folder / "served"))
        remote.token = None
        reach = Reach(folder / "root", PrivateHosts.parse("127.0.0.0/8"))
        mirrors = Mirrors(folder / "mirrors", reach, budget=1 << 40, fetch_within=600)
        trees = Trees(folder / "trees", TreeMaker(UID))
        source = Source(uuid.uuid4(), uuid.uuid4(), remote.url("app.git"))
        bench = Bench(folder, remote, mirrors, trees, source)
        report.look_around("git")
        note("first fetch", await timed(lambda: mirrors.fetch(source, time.time())))
        commits = await bench.commits()
        note(FIRST, await timed(lambda: bench.prepare(commits[0])))
        for number in range(rounds):
            await one_round(bench, number, commits, note)
    report.figures = [
        Figure("git", name, "x" if ", of " in name else "ms", values, TARGETS.get(name))
        for name, values in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.git", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    report = Report()
    asyncio.run(measure(report, rounds=options.rounds))
    report.show()
    report.write(RESULTS)


if __name__ == "__main__":
    main()
