"""What a repository says of its deliveries: what stops them, what a commit says, and who has signed it."""

import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox_common.contracts.git import DeliveryState
from signalbox_common.testing import eventually
from tests.support.bundles import Workshop
from tests.support.checkouts import git
from tests.support.commits import Asked, packed
from tests.support.git_person import GitPerson, Place
from tests.support.installation import Installation
from tests.support.remotes import add_commit, answering
from tests.support.repositories import git_scene

CHANGES: Asked = {b"README.md": ("100644", b"changed\n")}
SECRET: Asked = {b"a.py": ("100644", b"token = 'ghp_" + b"a1B2" * 9 + b"'\n")}
BY = "Signed-off-by: Alice Example <alice@example.com>"
WITH = "Co-authored-by: Coder <coder@signalbox.invalid>"


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


async def changed(there: GitPerson, place: Place, **body: Any) -> Any:
    status = body.pop("status", 200)
    headers = body.pop("headers", there.scene.headers)
    return await there.scene.ask("PATCH", f"/{place.repository}", json=body, status=status, headers=headers)


def message_of(place: Place, branch: str = "task/1") -> str:
    return place.show(branch, "%B")


# -- what a commit says ------------------------------------------------------------------------------------


async def test_sign_off_is_asked_for_or_a_policy(there: GitPerson) -> None:
    place = await Place.make(there.scene, policy={"signOff": True})
    changes = await there.put(packed(place.base, CHANGES))
    await there.delivered(place.repository, place.base, changes)
    assert message_of(place) == f"Change it\n\n{WITH}\n{BY}"
    await there.delivered(place.repository, place.base, changes, branch="no", sign_off=False)
    assert message_of(place, "no") == f"Change it\n\n{WITH}"
    await changed(there, place, policy={})
    await there.delivered(place.repository, place.base, changes, branch="yes", sign_off=True)
    assert message_of(place, "yes") == f"Change it\n\n{WITH}\n{BY}"


async def test_a_template_says_the_rest(there: GitPerson) -> None:
    template = "{title} ({branch})\n\n{message}\n\nTold-by: {author}"
    place = await Place.make(there.scene, policy={"commitTemplate": template})
    found = await there.scene.ask("GET", f"/{place.repository}")
    assert found["policy"] == {
        "findings": "refuse",
        "largestFile": 10,
        "signOff": False,
        "commitTemplate": template,
    }
    await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    assert message_of(place) == f"Change it (task/1)\n\nChange it\n\nTold-by: Alice Example\n{WITH}"
    await changed(there, place, policy={"commitTemplate": "{title} {who}"}, status=422)


async def test_what_is_tried_again_is_the_same_commit(there: GitPerson, tmp_path: Path) -> None:
    """Whatever the repository says meanwhile: policy and key count as they were when it was asked for."""
    old, new = Keys(tmp_path / "old"), Keys(tmp_path / "new")
    place = await Place.make(there.scene, policy={"signOff": True}, signingKey=old.private)
    await there.scene.ready(place.repository)
    there.scene.remote.behaviours.append(partial(answering, 503, place.remote.name))
    try:
        begun = await there.deliver(place.repository, place.base, packed(place.base, CHANGES))

        async def committed() -> str | None:
            return (await there.delivery(begun.delivery)).commit

        commit = await eventually(committed, what="it is committed")
        await changed(there, place, policy={"commitTemplate": "other: {title}"}, signingKey=new.private)
        for mirror in there.scene.mirrors:
            if mirror.name.startswith(place.repository):
                shutil.rmtree(mirror)
    finally:
        there.scene.remote.behaviours.clear()
    done = await there.ended(begun)
    assert (done.state, done.commit) == (DeliveryState.PUSHED, commit)
    assert message_of(place) == f"Change it\n\n{WITH}\n{BY}"
    assert "Good" in old.verify(place, "task/1")


# -- what stops it -----------------------------------------------------------------------------------------


async def test_findings_may_be_told_instead_of_stopping_it(there: GitPerson, tmp_path: Path) -> None:
    place = await Place.make(there.scene, policy={"findings": "warn"})
    done = await there.delivered(place.repository, place.base, packed(place.base, SECRET))
    assert (done.state, [each.kind for each in done.findings]) == (DeliveryState.PUSHED, ["secret"])
    shop = Workshop(place.remote, tmp_path / "workshop")
    tip = shop.commit(place.base, {"a.bin": b"\0"})
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip), branch="kept")
    assert (done.state, [each.kind for each in done.findings]) == (DeliveryState.PUSHED, ["binary"])
    workflow: Asked = {b".github/workflows/x.yml": ("100644", b"on: push\n")}
    done = await there.delivered(place.repository, place.base, packed(place.base, workflow), branch="w")
    assert done.state is DeliveryState.REFUSED


async def test_what_is_large_is_for_the_policy_to_say(there: GitPerson, tmp_path: Path) -> None:
    place = await Place.make(there.scene, policy={"largestFile": 1})
    content = b"a fairly long line of nothing\n" * 40_000
    done = await there.delivered(
        place.repository, place.base, packed(place.base, {b"a.txt": ("100644", content)})
    )
    assert (done.state, [each.kind for each in done.findings]) == (DeliveryState.REFUSED, ["large"])
    shop = Workshop(place.remote, tmp_path / "workshop")
    tip = shop.commit(place.base, {"a.txt": content})
    done = await there.bundle_delivered(place, shop.bundle(place.base, tip))
    assert (done.state, [each.kind for each in done.findings]) == (DeliveryState.REFUSED, ["large"])


async def test_only_maintainers_let_more_out(there: GitPerson) -> None:
    """Whoever may not deliver with `findings: allow` may not change the policy to that effect, either."""
    scene = there.scene
    developer = await scene.http.join(scene.headers, scene.project, "developer")
    place = await Place.make(scene)
    for policy in ({"findings": "warn"}, {"largestFile": 11}):
        refused = await changed(there, place, policy=policy, headers=developer, status=403)
        assert refused["code"] == "role_too_low"
        await scene.ask(
            "POST",
            status=403,
            headers=developer,
            json={"projectId": scene.project, "url": scene.remote.url("no.git"), "policy": policy},
        )
    await changed(there, place, policy={"largestFile": 3, "signOff": True}, headers=developer)
    await changed(there, place, policy={"findings": "warn"})
    found = await changed(there, place, policy={"findings": "warn", "signOff": True}, headers=developer)
    assert found["policy"]["findings"] == "warn"


# -- who has signed it -------------------------------------------------------------------------------------


class Keys:
    """Those of a signer, and who counts as one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.path = folder / "key"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bot", "-f", str(self.path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        self.private = self.path.read_text()
        self.public = " ".join((folder / "key.pub").read_text().split()[:2])
        self.allowed = folder / "allowed_signers"
        self.allowed.write_text(f"signalbox@localhost.localdomain {self.public}\n")

    def verify(self, place: Place, revision: str) -> str:
        """As anybody does who has the repository; raises where it is not so."""
        options = ("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={self.allowed}")
        ran = subprocess.run(
            ["git", *options, "verify-commit", "--raw", revision],
            cwd=place.remote,
            capture_output=True,
            check=True,
        )
        return ran.stderr.decode()


async def test_commits_are_signed(there: GitPerson, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    place = await Place.make(there.scene, signingKey=keys.private)
    found = await there.scene.ask("GET", f"/{place.repository}")
    assert found["signedBy"] == keys.public
    assert "PRIVATE" not in str(found)
    done = await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    assert done.state is DeliveryState.PUSHED
    assert "Good" in keys.verify(place, "task/1")
    git(place.remote, "fsck", "--strict")
    without = await changed(there, place, removeSigningKey=True)
    assert without["signedBy"] is None
    await there.delivered(place.repository, place.base, packed(place.base, CHANGES), branch="plain")
    with pytest.raises(subprocess.CalledProcessError):
        keys.verify(place, "plain")


async def test_what_goes_on_top_is_signed_as_well(there: GitPerson, tmp_path: Path) -> None:
    """Kept commits are their author's; as soon as they are moved, they are ours."""
    keys = Keys(tmp_path / "keys")
    place = await Place.make(there.scene, signingKey=keys.private)
    for branch in ("one", "kept"):
        git(place.remote, "update-ref", f"refs/heads/{branch}", place.base)
        add_commit(place.remote, {"theirs.txt": "x\n"}, branch=branch)
    await there.delivered(place.repository, place.base, packed(place.base, CHANGES), branch="one")
    assert "Good" in keys.verify(place, "one")
    shop = Workshop(place.remote, tmp_path / "workshop")
    tip = shop.commit(shop.commit(place.base, {"a": b"1"}), {"a": b"2"})
    bundle = shop.bundle(place.base, tip)
    done = await there.bundle_delivered(place, bundle, branch="as-it-is")
    assert done.commit == tip
    done = await there.bundle_delivered(place, bundle, branch="kept")
    assert done.branch == "kept"
    for revision in ("kept", "kept~1"):
        assert "Good" in keys.verify(place, revision)


async def test_another_key_takes_its_place(there: GitPerson, tmp_path: Path) -> None:
    old, new = Keys(tmp_path / "old"), Keys(tmp_path / "new")
    place = await Place.make(there.scene, signingKey=old.private)
    found = await changed(there, place, signingKey=new.private)
    assert found["signedBy"] == new.public
    await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    assert "Good" in new.verify(place, "task/1")
    with pytest.raises(subprocess.CalledProcessError):
        old.verify(place, "task/1")


async def test_what_is_no_signing_key(there: GitPerson) -> None:
    scene = there.scene
    url = scene.remote.url(f"{uuid.uuid4().hex}.git")
    body = {"projectId": scene.project, "url": url, "signingKey": "a-canary-that-is-no-key"}
    refused = await scene.ask("POST", status=422, json=body)
    assert refused["code"] == "bad_signing_key"
    assert "canary" not in str(refused)


async def test_a_key_is_nowhere_but_in_the_secret_store(there: GitPerson, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys")
    place = await Place.make(there.scene, signingKey=keys.private)
    await there.delivered(place.repository, place.base, packed(place.base, CHANGES))
    canary = keys.private.splitlines()[2]
    for path in there.scene.folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert canary.encode() not in path.read_bytes(), path
    async with there.scene.installation.sql() as connection:
        for table in ("repositories", "change_deliveries", "inbox", "outbox"):
            rows = await connection.fetch(f"select row_to_json(t)::text as row from git.{table} t")
            assert not [row for row in rows if canary in row["row"]], table
