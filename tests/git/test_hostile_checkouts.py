"""Hostile repositories with the whole service: what a person is told of them, and that others go on."""

import resource
import uuid
from collections.abc import AsyncIterator

import pytest

from signalbox_common.contracts.git import CheckoutState
from signalbox_common.testing import eventually
from signalbox_git.trees import bounds
from tests.support.git_person import GitPerson, Place
from tests.support.hostile import Objects, ScriptedRepository
from tests.support.hostile_repositories import ROWS, Canary
from tests.support.installation import Installation
from tests.support.repositories import git_scene


@pytest.fixture(scope="module")
async def there(
    shared_installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GitPerson]:
    """With a bound that is met sooner than that of an installation."""
    async with (
        git_scene(shared_installation, tmp_path_factory.mktemp("git")) as scene,
        scene.service(checkout_mb=64),
        shared_installation.bus() as bus,
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bounds, "_LIMITS", {resource.RLIMIT_FSIZE: 16 * 1024 * 1024})
            yield GitPerson(scene, bus)


async def added(there: GitPerson, name: str) -> str:
    """That of a row."""
    scene = there.scene
    outside = scene.folder / "outside"
    outside.mkdir(exist_ok=True)
    made = ROWS[name].make(Objects(), Canary(outside, 9))
    repository = f"{uuid.uuid4().hex}.git"
    scene.remote.behaviours.append(ScriptedRepository(repository, made.refs, made.pack))
    found: str = (await scene.add(url=scene.remote.url(repository)))["id"]
    return found


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("name: 256 bytes", "cannot_be_laid_out"),
        ("path: 1,000 folders", "cannot_be_laid_out"),
        ("tree: 10 to the 10th files", "too_large"),
    ],
)
async def test_what_cannot_be_laid_out_fails_at_once(there: GitPerson, name: str, code: str) -> None:
    """It is not tried again: it would come to the same."""
    repository = await added(there, name)
    await there.scene.ready(repository)
    checkout = await there.settled(await there.prepare(repository))
    assert checkout.state is CheckoutState.FAILED
    assert checkout.error is not None
    assert (checkout.error.code, checkout.error.retryable) == (code, False)
    assert checkout.error.detail.isprintable()
    place = await Place.make(there.scene)
    await there.prepared(place.repository)


async def test_what_is_malformed_says_so(there: GitPerson) -> None:
    repository = await added(there, "name: .git")

    async def so() -> bool:
        found = await there.scene.ask("GET", f"/{repository}")
        return bool(found["status"] == "failed")

    await eventually(so, what="the repository has failed")
    assert (await there.scene.ask("GET", f"/{repository}"))["reason"] == "malformed"
    refused = await there.scene.ask("GET", f"/{repository}/branches", status=409)
    assert refused["code"] == "fetch_failed"


async def test_what_is_in_it_is_only_looked_at(there: GitPerson) -> None:
    """Links are links, and nothing of it is run, whatever it says to git."""
    scene = there.scene
    links = await added(there, "links: out")
    await scene.ready(links)
    assert await scene.ask("GET", f"/{links}/file", params={"path": "passwd"}) == b"/etc/passwd"
    below = await scene.ask("GET", f"/{links}/file", params={"path": "folder/secret"}, status=404)
    assert below["code"] == "path_not_found"
    programs = await added(there, "programs")
    await scene.ready(programs)
    await scene.ask("GET", f"/{programs}/diff")
    await scene.ask("GET", f"/{programs}/blame", params={"path": "bare/config"})
    await there.prepared(programs)
    assert list((scene.folder / "outside").iterdir()) == []


async def test_what_is_too_much_to_be_shown_says_so(there: GitPerson) -> None:
    """A tree beyond the stack of git, and a title beyond all reason."""
    scene = there.scene
    deep = await added(there, "path: 20,000 folders")
    await scene.ready(deep)
    assert (await scene.ask("GET", f"/{deep}/commit", status=413))["code"] == "too_much"
    assert (await scene.ask("GET", f"/{deep}/diff", status=413))["code"] == "too_much"
    long = await added(there, "commit: 2 MB in its title")
    await scene.ready(long)
    (branch,) = (await scene.ask("GET", f"/{long}/branches"))["items"]
    assert len(branch["subject"]) == 1000
