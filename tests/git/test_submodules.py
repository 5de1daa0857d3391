"""Submodules: as `git clone --recurse-submodules` lays them out, whatever a `.gitmodules` is up to."""

import os
import subprocess
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from signalbox_common.addresses import PrivateHosts
from signalbox_common.contracts.git import CheckoutState, DeliveryState
from signalbox_git.domain import CheckoutOptions
from signalbox_git.mirrors.gitmodules import ModuleRefused
from signalbox_git.mirrors.mirrors import Mirrors, Source
from signalbox_git.mirrors.modules import Modules
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential
from signalbox_git.trees.bounds import TreeTooLarge
from signalbox_git.trees.maker import MOMENT, TreeMaker
from signalbox_git.trees.trees import Trees
from tests.support.checkouts import git
from tests.support.commits import packed
from tests.support.git_person import GitPerson
from tests.support.installation import Installation
from tests.support.remotes import TOKEN, HttpRemote, add_commit
from tests.support.repositories import git_scene
from tests.support.submodules import add_modules, blob, commit, gitmodules, head, set_entries

PROJECT = uuid.uuid4()
UID = 64_000 if os.geteuid() == 0 else None


@dataclass
class ModuleLab:
    http: HttpRemote
    other: HttpRemote
    """At another port: another place."""
    folder: Path
    mirrors: Mirrors
    largest: int = 1 << 30

    def source(self, name: str = "app.git") -> Source:
        return Source(
            PROJECT, uuid.uuid5(PROJECT, name + "repository"), self.http.url(name), Credential(TOKEN)
        )

    async def make(self, options: CheckoutOptions | None = None, name: str = "app.git") -> Path:
        source, options = self.source(name), options or CheckoutOptions("main", submodules=True)
        trees = Trees(self.folder / "trees", TreeMaker(UID, self.largest))
        modules = Modules(self.mirrors)
        async with self.mirrors.fresh(source, time.time()) as mirror:
            newest = await mirror.git.line("rev-parse", "refs/heads/main")
            await self.mirrors.keep(source, newest)
            fetch = partial(modules.fetched, source, mirror, newest) if options.submodules else None
            async with trees.made(mirror, PROJECT, newest, options, fetch) as tree:
                return self.folder / "trees" / str(PROJECT) / tree

    @property
    def made_trees(self) -> list[Path]:
        return [path for path in (self.folder / "trees").glob("*/*-*") if path.is_dir()]


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[ModuleLab]:
    with ExitStack() as stack:
        http, other = (stack.enter_context(HttpRemote.serving(tmp_path / name)) for name in ("a", "b"))
        reach = Reach(tmp_path / "root", PrivateHosts.parse("127.0.0.0/8"))
        yield ModuleLab(
            http, other, tmp_path, Mirrors(tmp_path / "mirrors", reach, budget=1 << 40, fetch_within=60)
        )


def inside(folder: Path, made: Path, *arguments: str, where: str = "") -> str:
    """git as a sandbox has it: both folders as one, with files of another inode."""
    place = folder / f"inside-{uuid.uuid4().hex}"
    subprocess.run(["cp", "-a", f"{made}/tree", str(place)], check=True)
    subprocess.run(["cp", "-a", f"{made}/git", f"{place}/.git"], check=True)
    words = ["git", "-c", "safe.directory=*", *arguments]
    env = {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "safe.directory",
        "GIT_CONFIG_VALUE_0": "*",
    }
    ran = subprocess.run(words, cwd=place / where, check=False, capture_output=True, text=True, env=env)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def test_they_are_laid_out_as_git_does_it(lab: ModuleLab) -> None:
    """One within another, by addresses of their own and by relative ones."""
    deep = lab.http.new("deep.git", {"d.txt": "deep\n"})
    lib = lab.http.new("group/lib.git", {"l.txt": "lib\n"})
    add_modules(lib, ("inner", "in/deep", "../deep.git/../../deep.git", head(deep)))
    other = lab.other.new("other.git", {"o.txt": "other\n"})
    lab.other.token = None
    app = lab.http.new("app.git", {"a.txt": "app\n"})
    add_modules(
        app,
        ("lib", "vendor/lib", "./../group/lib.git", head(lib)),
        ("third party/other", "other", lab.other.url("other.git"), head(other)),
    )
    # `..` in the middle of an address is not taken: the inner one goes up from its own
    add_modules(lib, ("inner", "in/deep", "../../deep.git", head(deep)))
    add_modules(
        app,
        ("lib", "vendor/lib", "../group/lib.git", head(lib)),
        ("third party/other", "other", lab.other.url("other.git"), head(other)),
    )
    made = await lab.make()
    files = {
        str(path.relative_to(made / "tree")): path.read_text() for path in (made / "tree").rglob("*.txt")
    }
    assert files == {
        "a.txt": "app\n",
        "vendor/lib/l.txt": "lib\n",
        "vendor/lib/in/deep/d.txt": "deep\n",
        "other/o.txt": "other\n",
    }
    assert inside(lab.folder, made, "status", "--short", "--branch") == "## main\n"
    status = inside(lab.folder, made, "submodule", "status", "--recursive").splitlines()
    assert sorted(line.split()[1] for line in status) == ["other", "vendor/lib", "vendor/lib/in/deep"]
    assert all(line.startswith(" ") for line in status), status
    assert inside(lab.folder, made, "rev-parse", "HEAD", where="vendor/lib/in/deep").strip() == head(deep)
    assert inside(lab.folder, made, "status", "--short", "--branch", where="vendor/lib") == (
        "## HEAD (no branch)\n"
    )
    inside(lab.folder, made, "fsck", "--full", where="vendor/lib")
    assert not list((made / "git").rglob("alternates"))
    assert not list((made / "git").rglob("hooks"))
    found = [path.lstat() for path in (made, *made.rglob("*"))]
    assert {int(each.st_mtime) for each in found} == {MOMENT}
    assert UID is None or {each.st_uid for each in found} == {UID}


async def test_what_differs_inside_is_seen(lab: ModuleLab) -> None:
    lib = lab.http.new("lib.git")
    add_modules(lab.http.new("app.git"), ("lib", "lib", "../lib.git", head(lib)))
    made = await lab.make()
    (made / "tree/lib/README.md").write_text("changed and longer\n")
    assert inside(lab.folder, made, "status", "--short") == " m lib\n"


async def test_each_is_shown_only_what_is_its_own(lab: ModuleLab) -> None:
    """The credential of the repository is for its own host and port."""
    near, far = lab.http.new("near.git"), lab.other.new("far.git")
    lab.other.token = None
    add_modules(
        lab.http.new("app.git"),
        ("near", "near", lab.http.url("near.git"), head(near)),
        ("far", "far", lab.other.url("far.git"), head(far)),
    )
    await lab.make()
    assert set(lab.other.shown) == {None}
    assert any("near.git" in request for request in lab.http.requests)


async def test_another_host_that_asks_for_a_credential_gets_none(lab: ModuleLab) -> None:
    far = lab.other.new("far.git")
    add_modules(lab.http.new("app.git"), ("far", "far", lab.other.url("far.git"), head(far)))
    with pytest.raises(RemoteRefused, match="The submodule at far") as refusal:
        await lab.make()
    assert refusal.value.reason == "unauthorized"
    assert not lab.made_trees
    assert set(lab.other.shown) == {None}


async def test_a_commit_that_no_branch_has_is_asked_for(lab: ModuleLab) -> None:
    lib = lab.http.new("lib.git")
    add_commit(lib, {"x": "x\n"}, branch="gone")
    at = git(lib, "rev-parse", "gone").strip()
    git(lib, "update-ref", "refs/pull/1/head", at)
    git(lib, "branch", "-D", "gone")
    add_modules(lab.http.new("app.git"), ("lib", "lib", "../lib.git", at))
    assert (await lab.make() / "tree/lib/x").read_text() == "x\n"
    add_modules(lab.http.folder / "app.git", ("lib", "lib", "../lib.git", "1" * 40))
    with pytest.raises(ModuleRefused, match="does not have its commit"):
        await lab.make()


async def test_two_repositories_of_a_project_share_a_mirror(lab: ModuleLab) -> None:
    lib = lab.http.new("lib.git")
    for name in ("app.git", "tool.git"):
        add_modules(lab.http.new(name), ("lib", "lib", "../lib.git", head(lib)))
    await lab.make()
    fetched = len([request for request in lab.http.requests if "lib.git" in request])
    await lab.make(name="tool.git")
    assert len([request for request in lab.http.requests if "lib.git" in request]) == fetched


async def test_only_what_is_laid_out_has_its_modules(lab: ModuleLab) -> None:
    lib = lab.http.new("lib.git")
    app = lab.http.new("app.git", {"src/a": "a\n"})
    add_modules(
        app,
        ("one", "src/one", "../lib.git", head(lib)),
        ("two", "docs/two", "../lib.git", head(lib)),
    )
    made = await lab.make(CheckoutOptions("main", sparse=("src",), submodules=True))
    assert (made / "tree/src/one/README.md").exists()
    assert not (made / "tree/docs").exists()
    assert inside(lab.folder, made, "status", "--short") == ""


async def test_trees_with_and_without_are_made_from_each_other(lab: ModuleLab) -> None:
    lib = lab.http.new("lib.git")
    app = lab.http.new("app.git", {"a.txt": "a\n"})
    add_modules(app, ("lib", "lib", "../lib.git", head(lib)))
    first = await lab.make()
    add_commit(app, {"b.txt": "b\n"})
    plain = await lab.make(CheckoutOptions("main"))
    assert (plain / "tree/a.txt").stat().st_ino == (first / "tree/a.txt").stat().st_ino
    assert list((plain / "tree/lib").iterdir()) == []
    assert inside(lab.folder, plain, "status", "--short") == ""
    add_commit(lib, {"new": "new\n"})
    add_modules(app, ("lib", "lib", "../lib.git", head(lib)))
    second = await lab.make()
    assert (second / "tree/lib/new").read_text() == "new\n"
    assert not (first / "tree/lib/new").exists()
    assert inside(lab.folder, second, "submodule", "status").startswith(f" {head(lib)}")
    set_entries(app, {"lib": ("0", "0" * 40)})
    without = await lab.make()
    assert not (without / "tree/lib").exists()
    assert inside(lab.folder, without, "status", "--short") == ""


# -- what is refused -----------------------------------------------------------------------------------------

REFUSED = (ModuleRefused, RemoteRefused)
"""git looks at what comes as well, and does not take some of it from the remote."""
BAD_ADDRESSES = (
    "file:///etc",
    "/etc",
    "ext::sh -c touch% /tmp/x",
    "--upload-pack=touch /tmp/x",
    "-u./x",
    "git://example.com/x.git",
    "https://user:password@example.com/x.git",
    "http://127.0.0.1@example.com/x",
    "../../../../x.git",
    "../-x.git",
    "../x%2e%2e",
    "ssh://-oProxyCommand=touch/x",
    "-oProxyCommand=touch:x",
    "https://example.com/x\\n.git",
)


@pytest.mark.parametrize("url", BAD_ADDRESSES)
async def test_of_addresses(lab: ModuleLab, url: str) -> None:
    lib = lab.http.new("lib.git")
    add_modules(lab.http.new("app.git"), ("lib", "lib", url, head(lib)))
    with pytest.raises(REFUSED):
        await lab.make()
    assert not lab.made_trees


async def test_of_addresses_that_are_private(lab: ModuleLab) -> None:
    add_modules(lab.http.new("app.git"), ("lib", "lib", "http://10.0.0.1/x.git", "1" * 40))
    with pytest.raises(RemoteRefused) as refusal:
        await lab.make()
    assert refusal.value.reason == "private_address"


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        ".git",
        "a/.GIT/x",
        "/x",
        "x/",
        "",
        "-x",
        "a.lock",
        "x\\\\y",
        "git~1",
        ".",
        "\u200cx",
    ],
)
async def test_of_names(lab: ModuleLab, name: str) -> None:
    lib = lab.http.new("lib.git")
    add_modules(lab.http.new("app.git"), (name, "lib", "../lib.git", head(lib)))
    with pytest.raises(REFUSED):
        await lab.make()
    assert not lab.made_trees


@pytest.mark.parametrize("names", [("lib", "LIB"), ("a", "a/modules/b"), ("a/b", "a")])
async def test_of_names_that_meet(lab: ModuleLab, names: tuple[str, str]) -> None:
    lib = lab.http.new("lib.git")
    both = ((name, f"at-{number}", "../lib.git", head(lib)) for number, name in enumerate(names))
    add_modules(lab.http.new("app.git"), *both)
    with pytest.raises(ModuleRefused):
        await lab.make()


async def test_of_paths(lab: ModuleLab) -> None:
    """git itself takes some of them into a tree."""
    lib = lab.http.new("lib.git")
    app = lab.http.new("app.git")
    for path in ('a"b', "a\\b", "a\nb", "a\x7fb"):
        said = gitmodules(("lib", "lib", "../lib.git"))
        set_entries(app, {path: ("160000", head(lib))}, {".gitmodules": said})
        with pytest.raises(ModuleRefused, match="path"):
            await lab.make()
        set_entries(app, {path: ("0", "0" * 40)})
    assert not lab.made_trees


async def test_of_a_link_on_the_way(lab: ModuleLab) -> None:
    """A tree as no git writes it: a link, and a folder of the same name with a submodule in it."""
    outside = lab.folder / "outside"
    outside.mkdir()
    lib, app = lab.http.new("lib.git"), lab.http.new("app.git")
    inner = git(app, "mktree", "--missing", given=f"160000 commit {head(lib)}\tlib\n".encode()).strip()
    link = blob(app, str(outside))
    file = blob(app, gitmodules(("lib", "a/lib", "../lib.git")))
    raw = b"".join(
        mode + b" " + name + b"\0" + bytes.fromhex(of)
        for mode, name, of in (
            (b"100644", b".gitmodules", file),
            (b"120000", b"a", link),
            (b"40000", b"a", inner),
        )
    )
    tree = git(app, "hash-object", "-t", "tree", "-w", "--literally", "--stdin", given=raw).strip()
    commit(app, tree)
    with pytest.raises(REFUSED):
        await lab.make()
    assert list(outside.iterdir()) == []
    assert not lab.made_trees


async def test_of_a_file_that_is_a_link_or_none_or_too_large(lab: ModuleLab) -> None:
    lib, app = lab.http.new("lib.git"), lab.http.new("app.git")
    set_entries(app, {"lib": ("160000", head(lib))})
    with pytest.raises(ModuleRefused, match="no file"):
        await lab.make()
    said = gitmodules(("lib", "lib", "../lib.git"))
    set_entries(app, {}, {".gitmodules": said + "#" * 300_000})
    with pytest.raises(ModuleRefused, match="too large"):
        await lab.make()
    set_entries(app, {}, {".gitmodules": "[submodule"})
    with pytest.raises(ModuleRefused, match="cannot be read"):
        await lab.make()
    set_entries(
        app, {}, {".gitmodules": '[include]\n\tpath = /etc/hostname\n[submodule "lib"]\n\tpath = lib\n'}
    )
    with pytest.raises(ModuleRefused, match="no address"):
        await lab.make()


async def test_of_too_many_too_deep_and_too_large(lab: ModuleLab) -> None:
    lib, app = lab.http.new("lib.git"), lab.http.new("app.git")
    add_modules(app, *((f"m{number}", f"m{number}", "../lib.git", head(lib)) for number in range(51)))
    with pytest.raises(ModuleRefused, match="more than 50"):
        await lab.make()
    below = head(lib)
    for depth in range(6):
        name = f"chain-{depth}.git"
        below = add_modules(
            lab.http.new(name),
            ("next", "next", f"../{'lib' if not depth else f'chain-{depth - 1}'}.git", below),
        )
    add_modules(lab.http.new("deep.git"), ("next", "next", "../chain-5.git", below))
    with pytest.raises(ModuleRefused, match="deep"):
        await lab.make(name="deep.git")
    add_commit(lib, {"large": "0" * 200_000})
    add_modules(lab.http.new("large.git"), ("lib", "lib", "../lib.git", head(lib)))
    lab.largest = 100_000
    with pytest.raises(TreeTooLarge):
        await lab.make(name="large.git")


async def test_one_that_names_itself_ends(lab: ModuleLab) -> None:
    """Each round is an older commit, until there is none, or the bound is met."""
    app = lab.http.new("app.git")
    for _ in range(3):
        add_modules(app, ("self", "self", "../app.git", head(app)))
    made = await lab.make()
    assert (made / "tree/self/self/self/README.md").exists()
    assert inside(lab.folder, made, "status", "--short") == ""
    for _ in range(4):
        add_modules(app, ("self", "self", "../app.git", head(app)))
    with pytest.raises(ModuleRefused, match="deep"):
        await lab.make()


# -- as the service does it ----------------------------------------------------------------------------------


async def test_a_checkout_with_submodules(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(),
        shared_installation.bus() as bus,
    ):
        person = GitPerson(scene, bus)
        lib = scene.remote.new("lib.git", {"l.txt": "lib\n"})
        app = scene.remote.new("app.git", {"a.txt": "app\n"})
        base = add_modules(app, ("lib", "lib", "../lib.git", head(lib)))
        repository = (await scene.add("app.git"))["id"]
        plain = await person.prepared(repository)
        made = await person.prepared(repository, submodules=True)
        assert person.tree(plain) != person.tree(made)
        assert (person.tree(made) / "tree/lib/l.txt").read_text() == "lib\n"
        assert list((person.tree(plain) / "tree/lib").iterdir()) == []

        # a change set that reaches into one is no change of this repository
        reaching = packed(base, {b"lib/l.txt": ("100644", b"changed\n")})
        refused = await person.delivered(repository, base, reaching)
        assert refused.error is not None
        assert (refused.state, refused.error.code) == (DeliveryState.REFUSED, "bad_path")
        replacing = packed(base, {b"lib": None, b"lib/l.txt": ("100644", b"ours now\n")})
        done = await person.delivered(repository, base, replacing)
        assert done.state is DeliveryState.PUSHED
        assert git(app, "show", f"{done.commit}:lib/l.txt") == "ours now\n"

        bad = add_modules(app, ("lib", "lib", "git://example.com/lib.git", head(lib)))
        failed = await person.settled(await person.prepare(repository, ref=bad, submodules=True))
        assert failed.error is not None
        assert (failed.state, failed.error.code) == (CheckoutState.FAILED, "submodule_refused")
