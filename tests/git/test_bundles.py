"""Commits that are kept as an agent has made them: taken as hostile, and delivered in their order."""

import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from signalbox_common.contracts.git import (
    PUT_BUNDLE,
    READ_DELIVERY_DIFF,
    ChangeDelivery,
    DeliveryState,
)
from signalbox_common.errors import SignalboxError
from signalbox_git.commits.series import MOST_COMMITS
from tests.support.bundles import Workshop, bundle_of, delta_pack_of, pack_of
from tests.support.checkouts import git
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.remotes import add_commit
from tests.support.repositories import git_scene


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitPerson]:
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(),
        shared_installation.bus() as bus,
    ):
        yield GitPerson(scene, bus)


async def opened(
    there: GitPerson, folder: Path, files: dict[str, str] | None = None
) -> tuple[Place, Workshop]:
    place = await Place.make(there.scene, files)
    return place, Workshop(place.remote, folder / "workshop")


def said(done: ChangeDelivery) -> tuple[DeliveryState, str | None]:
    return done.state, done.error.code if done.error else None


async def test_commits_stay_as_they_are(there: GitPerson, tmp_path: Path) -> None:
    place, shop = await opened(there, tmp_path)
    first = shop.commit(place.base, {"a.txt": b"1\n"}, "First\n\nWhy: because\n")
    tip = shop.commit(first, {"a.txt": b"2\n", "README.md": None}, "Second")
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    assert (*said(done), done.commit, done.branch) == (DeliveryState.PUSHED, None, tip, "task/1")
    assert place.branches() == {"task/1": tip}
    assert place.show(tip, "%an <%ae>|%ai") == "Agent Smith <smith@agents.example>|2023-11-15 00:13:20 +0200"
    again = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    assert (again.state, again.commit) == (DeliveryState.PUSHED, tip)
    assert place.branches() == {"task/1": tip}


@pytest.mark.parametrize("version", [2, 3])
async def test_merges_and_both_versions(there: GitPerson, tmp_path: Path, version: int) -> None:
    place, shop = await opened(there, tmp_path)
    one = shop.commit(place.base, {"one.txt": b"1\n"})
    other = shop.commit(place.base, {"other.txt": b"2\n"})
    tip = shop.commit(one, {"other.txt": b"2\n"}, "Both", other)
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip, version=version))
    assert (done.state, place.branches()) == (DeliveryState.PUSHED, {"task/1": tip})


async def test_what_is_the_base_is_nothing_new(there: GitPerson, tmp_path: Path) -> None:
    place, _ = await opened(there, tmp_path)
    bundle = bundle_of({"refs/heads/x": place.base}, pack_of([]), prerequisites=[place.base])
    assert said(await there.bundle_delivered(place, bundle)) == (DeliveryState.UNCHANGED, None)
    assert place.branches() == {}


async def test_a_branch_that_others_moved_gets_them_on_top(there: GitPerson, tmp_path: Path) -> None:
    place, shop = await opened(there, tmp_path)
    tip = shop.commit(shop.commit(place.base, {"a.txt": b"1\n"}, "First"), {"b.txt": b"2\n"}, "Second")
    git(place.remote, "update-ref", "refs/heads/task/1", place.base)
    theirs = add_commit(place.remote, {"theirs.txt": "x\n"}, branch="task/1", message="Theirs")
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    assert (done.state, done.branch) == (DeliveryState.PUSHED, "task/1")
    subjects = git(place.remote, "log", "--format=%s|%an|%ad|%cn", "--date=iso", f"{place.base}..task/1")
    moment = "Agent Smith|2023-11-15 00:13:20 +0200|Signalbox"
    assert subjects.splitlines() == [
        f"Second|{moment}",
        f"First|{moment}",
        "Theirs|a|2001-09-09 01:46:40 +0000|a",
    ]
    assert git(place.remote, "rev-parse", "task/1~2").strip() == theirs
    shown = await there.read(READ_DELIVERY_DIFF, delivery=str(done.delivery))
    assert (b"a.txt" in shown, b"b.txt" in shown, b"theirs.txt" in shown) == (True, True, False)


@pytest.mark.parametrize("merges", [False, True])
async def test_what_does_not_go_on_top_goes_beside(there: GitPerson, tmp_path: Path, merges: bool) -> None:
    place, shop = await opened(there, tmp_path)
    tip = shop.commit(place.base, {"README.md": b"ours\n"} if not merges else {"a.txt": b"1\n"})
    if merges:
        tip = shop.commit(tip, {}, "Merge", shop.commit(place.base, {"b.txt": b"2\n"}))
    git(place.remote, "update-ref", "refs/heads/task/1", place.base)
    theirs = add_commit(place.remote, {"README.md": "theirs\n"}, branch="task/1", message="Theirs")
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    assert (done.state, done.branch) == (DeliveryState.PUSHED, "task/1-2")
    assert place.branches() == {"task/1": theirs, "task/1-2": tip}


async def test_what_goes_on_from_what_was_pushed_is_pushed_as_it_is(there: GitPerson, tmp_path: Path) -> None:
    """Nobody has to say what was there: it is among its own commits."""
    place, shop = await opened(there, tmp_path)
    first = shop.commit(place.base, {"a.txt": b"1\n"})
    await there.bundle_delivered(place, shop.bundle(place.base, first))
    second = shop.commit(first, {"a.txt": b"2\n"})
    done = await there.bundle_delivered(place, shop.bundle(place.base, second))
    assert (done.state, done.branch, done.commit) == (DeliveryState.PUSHED, "task/1", second)


SECRET = b"token = 'ghp_" + b"a1B2" * 9 + b"'\n"
NOTICED: dict[str, tuple[dict[str, bytes], str, str, str]] = {
    "a secret": ({"a.py": SECRET}, "Add", "findings", "secret"),
    "a secret in the message": ({"a.py": b"x\n"}, f"Add\n\n{SECRET.decode()}", "findings", "secret"),
    "a binary file": ({"a.bin": b"\0\1\2"}, "Add", "findings", "binary"),
    "a workflow": ({".github/workflows/ci.yml": b"on: push\n"}, "Add", "workflow_files", "workflow"),
}


@pytest.mark.parametrize("what", NOTICED)
async def test_each_commit_is_looked_at(there: GitPerson, tmp_path: Path, what: str) -> None:
    """What the next one takes away again would leave all the same."""
    files, message, code, kind = NOTICED[what]
    place, shop = await opened(there, tmp_path)
    bad = shop.commit(place.base, files, message)
    tip = shop.commit(bad, dict.fromkeys(files), "Take it away")
    bundle = shop.bundle(place.base, tip)
    done = await there.bundle_delivered(place, bundle)
    assert said(done) == (DeliveryState.REFUSED, code)
    assert {each.kind for each in done.findings} == {kind}
    assert bad[:10] in done.findings[0].detail
    assert place.branches() == {}
    allowed = await there.bundle_delivered(place, bundle, findings="allow", workflow_files="allow")
    assert (allowed.state, allowed.commit) == (DeliveryState.PUSHED, tip)


async def test_most_of_the_tree_gone(there: GitPerson, tmp_path: Path) -> None:
    place, shop = await opened(there, tmp_path, {f"f{number}": f"{number}\n" for number in range(20)})
    tip = shop.commit(place.base, {f"f{number}": None for number in range(11)})
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    assert [each.kind for each in done.findings] == ["deletions"]


# -- what nobody should send -------------------------------------------------------------------------------

Hostile = Callable[[Place, Workshop], bytes]
PACK = pack_of([])


def _commit_of(
    shop: Workshop, base: str, tree: str, author: str = "A <a@example.com> 1700000000 +0000"
) -> str:
    text = f"tree {tree}\nparent {base}\nauthor {author}\ncommitter A <a@example.com> 1700000000 +0000\n\nx\n"
    return shop.object("commit", text.encode())


def _whole(shop: Workshop, place: Place, tip: str, *more: tuple[str, bytes]) -> bytes:
    """All that a commit has beyond the base, in a pack that was made by hand."""
    names = shop.git("rev-list", "--objects", tip, f"^{place.base}").splitlines()
    objects = [shop.content(shop.git("cat-file", "-t", each.split()[0]), each.split()[0]) for each in names]
    return bundle_of({"refs/heads/x": tip}, pack_of([*objects, *more]), prerequisites=[place.base])


def _with_entry(place: Place, shop: Workshop, mode: str, name: bytes, target: str | None = None) -> bytes:
    """A tree that git itself would not write."""
    blob = target or shop.object("blob", b"x\n")
    tree = shop.object("tree", mode.encode() + b" " + name + b"\0" + bytes.fromhex(blob))
    tip = _commit_of(shop, place.base, tree)
    objects = [shop.content("commit", tip), ("tree", shop_bytes(shop, tree)), ("blob", b"x\n")]
    return bundle_of({"refs/heads/x": tip}, pack_of(objects), prerequisites=[place.base])


def shop_bytes(shop: Workshop, tree: str) -> bytes:
    loose = shop.folder / "objects" / tree[:2] / tree[2:]
    return zlib.decompress(loose.read_bytes()).partition(b"\0")[2]


def _foreign(place: Place, shop: Workshop) -> bytes:
    """A tree with a blob that is nowhere."""
    tree = shop.object("tree", b"100644 a\0" + bytes.fromhex("ab" * 20))
    tip = _commit_of(shop, place.base, tree)
    objects = [shop.content("commit", tip), ("tree", shop_bytes(shop, tree))]
    return bundle_of({"refs/heads/x": tip}, pack_of(objects), prerequisites=[place.base])


def _other_history(place: Place, shop: Workshop) -> bytes:
    tip = shop.commit_tree(shop.tree(None, {"a": b"x\n"}), "Elsewhere")
    return shop.bundle(place.base, tip)


def _bomb(place: Place, shop: Workshop) -> bytes:
    """A file of half a gigabyte, in half a megabyte."""
    return shop.bundle(place.base, shop.commit(place.base, {"a": bytes(512 * 1024 * 1024)}))


def _tree_bomb(place: Place, shop: Workshop) -> bytes:
    """Ten folders in each of ten folders, and so on: more files than anybody has seen."""
    inner, mode = shop.object("blob", b"x\n"), b"100644"
    for _ in range(10):
        content = b"".join(mode + b" %d\0" % number + bytes.fromhex(inner) for number in range(10))
        inner, mode = shop.object("tree", content), b"40000"
    return shop.bundle(place.base, _commit_of(shop, place.base, inner))


def _many_entries(place: Place, shop: Workshop) -> bytes:
    blob = bytes.fromhex(shop.object("blob", b"x\n"))
    names = sorted(b"%06d" % number for number in range(20_001))
    tree = shop.object("tree", b"".join(b"100644 " + name + b"\0" + blob for name in names))
    return shop.bundle(place.base, _commit_of(shop, place.base, tree))


def _delta_bomb(place: Place, shop: Workshop) -> bytes:
    """One byte of the base, copied to a size that nobody has."""
    base = shop.git("rev-parse", f"{place.base}:README.md")
    size = int(shop.git("cat-file", "-s", base))
    delta = bytes([size, 0x80, 0x80, 0x80, 0x80, 0x08]) + b"\x91\0\1"
    tip = shop.commit(place.base, {"a": b"x\n"})
    return bundle_of({"refs/heads/x": tip}, delta_pack_of(base, 1, delta), prerequisites=[place.base])


def _kept(place: Place, shop: Workshop) -> bytes:
    return shop.bundle(place.base, shop.commit(place.base, {"a": b"x\n"}))


def _duplicate(place: Place, shop: Workshop) -> bytes:
    tip = shop.commit(place.base, {"a": b"x\n"})
    return _whole(shop, place, tip, ("blob", b"x\n"))


def _author(author: str) -> Hostile:
    def make(place: Place, shop: Workshop) -> bytes:
        tip = _commit_of(shop, place.base, shop.tree(place.base, {"a": b"x\n"}), author)
        return _whole(shop, place, tip)

    return make


def _entry(mode: str, name: bytes) -> Hostile:
    return lambda place, shop: _with_entry(place, shop, mode, name)


REFUSED_AT_ONCE: dict[str, Hostile] = {
    "nothing": lambda _place, _shop: b"",
    "no bundle": lambda _place, _shop: b"# v2 git bundel\n\n",
    "a head of a megabyte": lambda place, _shop: (
        b"# v2 git bundle\n" + f"-{place.base} {'x' * 900}\n".encode() * 1000 + b"\n" + PACK
    ),
    "a line without an end": lambda _place, _shop: b"# v2 git bundle\n-" + b"a" * 1_000_000,
    "too many branches": lambda place, _shop: bundle_of(
        {f"refs/heads/{number}": place.base for number in range(17)}, PACK
    ),
    "two tips": lambda place, shop: shop.bundle(
        place.base, shop.commit(place.base, {"a": b"1"}), shop.commit(place.base, {"a": b"2"})
    ),
    "no tip": lambda place, _shop: bundle_of({}, PACK, prerequisites=[place.base]),
    "a filter": lambda place, _shop: bundle_of(
        {"refs/heads/x": place.base},
        PACK,
        signature=b"# v3 git bundle\n",
        capabilities=["object-format=sha1", "filter=blob:none"],
    ),
    "another kind of name": lambda place, _shop: bundle_of(
        {"refs/heads/x": place.base},
        PACK,
        signature=b"# v3 git bundle\n",
        capabilities=["object-format=sha256"],
    ),
    "an odd name": lambda place, _shop: bundle_of({"refs/heads/../../config": place.base}, PACK),
    "an option for a name": lambda place, _shop: bundle_of({"--upload-pack=x": place.base}, PACK),
    "a tag": lambda place, _shop: bundle_of({"refs/tags/v1": place.base}, PACK),
    "no pack": lambda place, _shop: bundle_of({"refs/heads/x": place.base}, b"PAC"),
    "too many objects": lambda place, _shop: bundle_of(
        {"refs/heads/x": place.base}, pack_of([], count=100_001)
    ),
}


@pytest.mark.parametrize("what", REFUSED_AT_ONCE)
async def test_what_is_no_bundle_is_not_kept(there: GitPerson, tmp_path: Path, what: str) -> None:
    place, shop = await opened(there, tmp_path)
    with pytest.raises(SignalboxError) as refusal:
        await there.put(REFUSED_AT_ONCE[what](place, shop), route=PUT_BUNDLE)
    code = "changes_too_large" if what == "too many objects" else "bad_bundle"
    assert refusal.value.code == code
    assert not list((there.scene.folder / "changes").rglob(".draft-*"))


REFUSED: dict[str, tuple[Hostile, str]] = {
    "a broken pack": (lambda place, shop: _kept(place, shop)[:-30] + bytes(30), "bad_bundle"),
    "a pack that ends early": (lambda place, shop: _kept(place, shop)[:-40], "bad_bundle"),
    "objects that are nowhere": (_foreign, "bad_bundle"),
    "a thin pack without its base": (
        lambda place, shop: bundle_of(
            {"refs/heads/x": place.base}, delta_pack_of("cd" * 20, 1, b"\x01\x01\x01x")
        ),
        "bad_bundle",
    ),
    "a beginning that is nowhere": (
        lambda place, _shop: bundle_of({"refs/heads/x": place.base}, PACK, prerequisites=["cd" * 20]),
        "bad_bundle",
    ),
    "a beginning that is no commit": (
        lambda place, shop: bundle_of(
            {"refs/heads/x": place.base},
            PACK,
            prerequisites=[shop.git("rev-parse", f"{place.base}^{{tree}}")],
        ),
        "bad_bundle",
    ),
    "a tip that is nowhere": (
        lambda _place, _shop: bundle_of({"refs/heads/x": "cd" * 20}, PACK),
        "bad_bundle",
    ),
    "a tip that is no commit": (
        lambda place, shop: bundle_of(
            {"refs/heads/x": shop.git("rev-parse", f"{place.base}^{{tree}}")}, PACK
        ),
        "bad_bundle",
    ),
    "another history": (_other_history, "bad_bundle"),
    "a pack bomb": (_bomb, "bad_bundle"),
    "a delta bomb": (_delta_bomb, "bad_bundle"),
    "a tree bomb": (_tree_bomb, "changes_too_large"),
    "too many files": (_many_entries, "changes_too_large"),
    "an object twice": (_duplicate, "bad_bundle"),
    "too many commits": (
        lambda place, shop: shop.bundle(place.base, shop.chain(place.base, MOST_COMMITS + 1)),
        "too_many_commits",
    ),
    "a submodule": (
        lambda place, shop: shop.bundle(
            place.base,
            _commit_of(shop, place.base, shop.object("tree", b"160000 a\0" + bytes.fromhex("ab" * 20))),
        ),
        "submodule",
    ),
    "a path of git": (_entry("100644", b".git"), "bad_bundle"),
    "a path of git elsewhere": (_entry("100644", b"GIT~1"), "bad_bundle"),
    "a path of git with what is not seen": (_entry("100644", ".g\u200cit".encode()), "bad_bundle"),
    "a path that leads up": (_entry("100644", b".."), "bad_bundle"),
    "a path with a slash": (_entry("100644", b"a/b"), "bad_bundle"),
    "a mode that is none": (_entry("100600", b"a"), "bad_bundle"),
    "a file that is a commit": (
        lambda place, shop: _with_entry(place, shop, "100644", b"a", place.base),
        "bad_bundle",
    ),
    "a list of submodules that is a link": (_entry("120000", b".gitmodules"), "bad_bundle"),
    "an author without an address": (_author("A 1700000000 +0000"), "bad_bundle"),
    "an author with a long name": (_author(f"{'A' * 601} <a@example.com> 1700000000 +0000"), "bad_bundle"),
}


EXPLODING = ("a pack bomb", "a delta bomb")
"""Stopped by what they would take, before they have taken it."""


@pytest.mark.parametrize("what", REFUSED)
async def test_hostile_bundles_are_refused_and_leave_nothing(
    there: GitPerson, tmp_path: Path, what: str
) -> None:
    make, code = REFUSED[what]
    place, shop = await opened(there, tmp_path)
    await there.scene.ready(place.repository)
    done = await there.bundle_delivered(place, make(place, shop), findings="allow")
    assert said(done) == (DeliveryState.REFUSED, code), done.error
    if what in EXPLODING:
        assert "attempting to allocate" in str(done.error)
    assert place.branches() == {}
    [mirror] = [path for path in there.scene.mirrors if path.name.startswith(place.repository)]
    assert list((mirror / "making").iterdir()) == []
    kept = git(mirror / "git", "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    assert set(kept) == set(git(place.remote, "rev-list", "--all", "--objects", "--no-object-names").split())


async def test_two_hundred_commits_are_not_too_many(there: GitPerson, tmp_path: Path) -> None:
    place, shop = await opened(there, tmp_path)
    tip = shop.chain(place.base, MOST_COMMITS)
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    assert (done.state, done.commit) == (DeliveryState.PUSHED, tip)


async def test_a_link_is_delivered_and_not_followed(there: GitPerson, tmp_path: Path) -> None:
    place, shop = await opened(there, tmp_path)
    outside = tmp_path / "outside.txt"
    outside.write_bytes(SECRET)
    tip = shop.commit(place.base, {"a": str(outside).encode()}, mode="120000")
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    assert (done.state, done.findings) == (DeliveryState.PUSHED, ())
    assert git(place.remote, "show", "task/1:a") == str(outside)


async def test_what_nothing_leads_to_stays_out(there: GitPerson, tmp_path: Path) -> None:
    place, shop = await opened(there, tmp_path)
    tip = shop.commit(place.base, {"a": b"x\n"})
    stray = shop.object("blob", b"a stray\n")
    done = await there.bundle_delivered(place, _whole(shop, place, tip, ("blob", b"a stray\n")))
    assert done.state is DeliveryState.PUSHED
    [mirror] = [path for path in there.scene.mirrors if path.name.startswith(place.repository)]
    kept = git(mirror / "git", "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").split()
    assert stray not in kept
    assert tip in kept


async def test_a_bundle_is_no_change_set(there: GitPerson, tmp_path: Path) -> None:
    place, shop = await opened(there, tmp_path)
    bundle = shop.bundle(place.base, shop.commit(place.base, {"a": b"x\n"}))
    digest = await there.put(bundle, route=PUT_BUNDLE)
    with pytest.raises(SignalboxError) as refusal:
        await there.deliver(place.repository, place.base, digest)
    assert refusal.value.code == "changes_not_found"
    with pytest.raises(SignalboxError) as refusal:
        await there.put(bundle)
    assert refusal.value.code == "bad_changes"
