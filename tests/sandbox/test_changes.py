"""What a sandbox has changed of its checkout: as git would commit it, whatever was done to it."""

import hashlib
import io
import json
import os
import random
import tarfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from signalbox_common.bus import Bus, Envelope
from signalbox_common.contracts import auth
from signalbox_common.contracts import sandbox as contract
from signalbox_common.dataplane import DataClient
from signalbox_common.errors import SignalboxError
from tests.support.checkouts import ChangeSet, Checkout, git
from tests.support.installation import Installation
from tests.support.sandboxes import SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")

UID = 64_000
FILES: dict[str, bytes | str] = {
    "README.md": b"hello\n",
    "src/main.py": b"print('one')\n",
    "src/deep/er/file.txt": b"deep\n",
    "src/deep/other.txt": b"other\n",
    "run.sh": b"#!/bin/sh\n",
    "link": "README.md",
    "gone/a": b"a\n",
    "gone/b/c": b"c\n",
    "becomes-folder": b"file\n",
    "becomes-file/x": b"x\n",
    "tracked.log": b"tracked although ignored\n",
    ".gitignore": b"*.log\nbuild/\n!keep.log\n",
    "sub/.gitignore": b"/only-here\n!again.log\n",
    "same": b"the same\n",
}


@dataclass
class Lab:
    """Somebody with a project on a node, and the services that ask in their name."""

    scene: SandboxScene
    gateway: Bus
    trees: Path

    def checkout(self, files: dict[str, bytes | str] | None = None) -> Checkout:
        return Checkout.make(self.trees, self.scene.project, FILES if files is None else files, UID)

    async def grant(self) -> str:
        token = SecretStr(self.scene.headers["Authorization"].removeprefix("Bearer "))
        asked = auth.GetGrant(token=token, audience="sandbox", project=uuid.UUID(self.scene.project))
        return (await self.gateway.query(asked)).value().grant

    async def create(self, checkout: Checkout, **more: Any) -> str:
        workspace = contract.SandboxWorkspace(
            checkout=uuid.UUID(checkout.id), commit=checkout.commit, branch="main"
        )
        grant = await self.grant()
        envelope = Envelope(uuid.uuid4(), "made by a test", grant)
        made = (await self.gateway.ask(contract.CreateSandbox(workspace=workspace, **more), envelope)).value()
        assert made.checkout == uuid.UUID(checkout.id)
        return str(made.id)

    async def client(self, sandbox: str) -> DataClient:
        grant = await self.grant()
        question = contract.LocateSandbox(sandbox=uuid.UUID(sandbox))
        location = (await self.gateway.query(question, grant=grant)).value()
        return DataClient(location.url, self.grant)

    async def freeze(self, sandbox: str) -> None:
        async with await self.client(sandbox) as client:
            answer = await client.write(contract.FREEZE, nothing, sandbox=sandbox)
            assert contract.Frozen.model_validate_json(answer).killed

    async def thaw(self, sandbox: str) -> None:
        async with await self.client(sandbox) as client:
            await client.write(contract.THAW, nothing, sandbox=sandbox)

    async def changes(self, sandbox: str) -> ChangeSet:
        return ChangeSet.read(await self.packed(sandbox))

    async def packed(self, sandbox: str) -> bytes:
        async with await self.client(sandbox) as client:
            parts = [part async for part in client.read(contract.READ_CHANGES, sandbox=sandbox)]
        return b"".join(parts)

    async def lay(self, sandbox: str, changes: bytes) -> None:
        async def content() -> AsyncIterator[bytes]:
            yield changes

        async with await self.client(sandbox) as client:
            await client.write(contract.WRITE_CHANGES, content, sandbox=sandbox)

    async def changed(self, sandbox: str, script: str) -> ChangeSet:
        await self.scene.said(sandbox, script)
        await self.freeze(sandbox)
        try:
            return await self.changes(sandbox)
        finally:
            await self.thaw(sandbox)


async def nothing() -> AsyncIterator[bytes]:
    for _ in ():
        yield b""


@pytest.fixture(scope="module")
async def lab(shared_installation: Installation) -> AsyncIterator[Lab]:
    async with sandboxes_of(shared_installation) as scene:
        trees = scene.node.folder.with_name("trees")
        trees.mkdir(mode=0o755)
        async with scene.service(trees=trees), shared_installation.bus() as gateway:
            yield Lab(scene, gateway, trees)


async def test_git_works_inside_as_in_any_clone(lab: Lab) -> None:
    sandbox = await lab.create(lab.checkout())
    assert await lab.scene.said(sandbox, "git status --porcelain") == ""
    assert (await lab.scene.said(sandbox, "git log --format=%s; git branch")) == "first\n* main\n"
    await lab.scene.said(
        sandbox, "echo more >> README.md; git add -A; git -c user.name=b -c user.email=b@b commit -qm two"
    )
    assert (await lab.scene.said(sandbox, "git log --format=%s")) == "two\nfirst\n"


async def test_each_kind_of_change(lab: Lab, tmp_path: Path) -> None:
    checkout = lab.checkout()
    sandbox = await lab.create(checkout)
    script = """
        set -e
        echo changed > README.md
        echo new > src/new.py
        chmod +x src/main.py
        rm -r gone
        rm src/deep/other.txt
        rm becomes-folder; mkdir becomes-folder; echo in > becomes-folder/in
        rm -r becomes-file; echo now > becomes-file
        ln -sf src/main.py link; ln -s nowhere dangling
        echo again >> tracked.log
        echo no > ignored.log; mkdir build; echo no > build/x; echo yes > keep.log
        echo no > sub/only-here; echo yes > only-here; echo yes > sub/again.log; echo no > sub/other.log
        touch same; cat same > same.new; mv same.new same
        mv src/deep/er src/moved
        mkdir empty
    """
    found = await lab.changed(sandbox, script)
    assert found.manifest["base"] == checkout.commit
    assert found.kinds == {
        b"README.md": "file",
        b"becomes-file": "file",
        b"becomes-file/x": "deleted",
        b"becomes-folder": "deleted",
        b"becomes-folder/in": "file",
        b"dangling": "link",
        b"gone/a": "deleted",
        b"gone/b/c": "deleted",
        b"keep.log": "file",
        b"link": "link",
        b"only-here": "file",
        b"src/deep/er/file.txt": "deleted",
        b"src/deep/other.txt": "deleted",
        b"src/main.py": "file",
        b"src/moved/file.txt": "file",
        b"src/new.py": "file",
        b"sub/again.log": "file",
        b"tracked.log": "file",
    }
    assert found.left == {}
    clone = checkout.copy(tmp_path / "clone")
    found.apply(clone)
    git(clone, "add", "-A")
    inside = await lab.scene.said(sandbox, "git add -A; git write-tree")
    assert git(clone, "write-tree") == inside


@pytest.mark.parametrize("seed", range(4))
async def test_it_is_what_git_would_commit(lab: Lab, tmp_path: Path, seed: int) -> None:
    """Random changes, made inside; the tree that git writes there is the one that the change set makes."""
    chosen = random.Random(seed)
    files: dict[str, bytes | str] = {
        f"{chosen.choice('abc')}/{chosen.choice('de')}/{number}": chosen.randbytes(chosen.randrange(200))
        for number in range(60)
    }
    files[".gitignore"] = b"*.tmp\n/c/e/\n!important.tmp\n"
    files["a/.gitignore"] = b"!here.tmp\nd/*.o\n"
    checkout = lab.checkout(files)
    sandbox = await lab.create(checkout)
    names = [
        *files,
        *(
            f"{chosen.choice('abcx')}/{chosen.choice('def')}/n{n}{chosen.choice(['', '.tmp', '.o'])}"
            for n in range(40)
        ),
        "a/here.tmp",
        "b/important.tmp",
    ]
    lines = []
    for _ in range(120):
        name, other = chosen.choice(names), chosen.choice(names)
        folder = str(Path(name).parent)
        lines.append(
            chosen.choice(
                [
                    f"mkdir -p {folder} && echo {chosen.random()} > {name}",
                    f"rm -rf {name}",
                    f"rm -rf {folder}",
                    f"chmod +x {name}",
                    f"mkdir -p {folder} && ln -sfn {other} {name}",
                    f"mkdir -p {Path(other).parent} && mv -f {name} {other}",
                    f"mkdir -p {name}/inner && echo x > {name}/inner/y",
                    f"git checkout -q -- {folder}",
                ]
            )
        )
    script = "; ".join(f"({line}) 2>/dev/null || true" for line in lines)
    found = await lab.changed(sandbox, script)
    clone = checkout.copy(tmp_path / "clone")
    found.apply(clone)
    git(clone, "add", "-A")
    inside = await lab.scene.said(sandbox, "git add -A; git ls-files -s")
    assert set(git(clone, "ls-files", "-s").splitlines()) == set(inside.splitlines())


async def test_what_is_no_file_is_named_and_left(lab: Lab) -> None:
    sandbox = await lab.create(lab.checkout())
    script = """
        mkfifo pipe; python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('socket')"
        git init -q nested; echo x > nested/file; mkdir -p a/other; git init -q a/other/repo
        printf x > "$(printf 'bad\\377')"; mkdir .GIT; echo x > .GIT/hooks
    """
    found = await lab.changed(sandbox, script)
    assert found.left == {
        b"pipe": "special",
        b"socket": "special",
        b"nested": "repository",
        b"a/other/repo": "repository",
    }
    assert found.kinds == {b"bad\xff": "file", b".GIT/hooks": "file"}


async def test_only_what_stands_still_is_read(lab: Lab) -> None:
    sandbox = await lab.create(lab.checkout())
    with pytest.raises(SignalboxError, match="freeze"):
        await lab.changes(sandbox)
    body = {"command": "setsid sh -c 'while :; do date > moving; done' & sleep 1000", "key": "moves"}
    path = f"/api/v1/sandboxes/{sandbox}"
    started = await lab.scene.http.post(f"{path}/processes", json=body, headers=lab.scene.headers)
    assert started.status_code == 201
    await lab.freeze(sandbox)
    one, other = await lab.changes(sandbox), await lab.changes(sandbox)
    assert one == other
    refused = await lab.scene.exec(sandbox, "true", status=409)
    assert refused["code"] == "sandbox_frozen"
    written = await lab.scene.http.put(
        f"{path}/files", params={"path": "x"}, content=b"x", headers=lab.scene.headers
    )
    assert written.json()["code"] == "sandbox_frozen"
    await lab.thaw(sandbox)
    assert await lab.scene.said(sandbox, "echo goes on; pgrep -c sleep || true") == "goes on\n0\n"


async def test_too_much_is_refused_as_a_whole(lab: Lab) -> None:
    sandbox = await lab.create(lab.checkout())
    await lab.scene.said(sandbox, "truncate -s 101M large; echo x > small")
    await lab.freeze(sandbox)
    with pytest.raises(SignalboxError) as refused:
        await lab.changes(sandbox)
    assert (refused.value.code, refused.value.errors[0].field) == ("changes_too_large", "large")
    await lab.thaw(sandbox)
    await lab.scene.said(sandbox, "rm large; for i in $(seq 20001); do : > many-$i; done")
    await lab.freeze(sandbox)
    with pytest.raises(SignalboxError) as refused:
        await lab.changes(sandbox)
    assert refused.value.code == "changes_too_large"


async def test_another_projects_checkout_is_none(lab: Lab) -> None:
    theirs = Checkout.make(lab.trees, str(uuid.uuid4()), FILES, UID)
    sandbox = await lab.create(theirs)
    assert (await lab.scene.get(sandbox))["status"] == "creating"
    await lab.scene.change(sandbox, "destroy")


async def test_it_waits_for_its_checkout(lab: Lab) -> None:
    checkout = lab.checkout()
    link = lab.trees / lab.scene.project / "checkouts" / checkout.id
    link.rename(link.with_suffix(".later"))
    sandbox = await lab.create(checkout)
    assert (await lab.scene.get(sandbox))["status"] == "creating"
    link.with_suffix(".later").rename(link)
    await lab.scene.until(sandbox, "running")


async def test_a_thousand_among_many(lab: Lab) -> None:
    files: dict[str, bytes | str] = {f"d{n % 100}/f{n}": b"%d\n" % n for n in range(5_000)}
    sandbox = await lab.create(lab.checkout(files))
    await lab.scene.said(sandbox, "for i in $(seq 0 999); do echo changed >> d$((i%100))/f$i; done")
    await lab.freeze(sandbox)
    began = time.perf_counter()
    found = await lab.changes(sandbox)
    print(f"\n1,000 of 5,000 files in {(time.perf_counter() - began) * 1000:.0f} ms")
    assert len(found.kinds) == 1_000


async def test_they_are_laid_into_another_sandbox(lab: Lab) -> None:
    """As a checkpoint is, or a second try: it then has changed the same."""
    checkout = lab.checkout()
    one, other = await lab.create(checkout), await lab.create(checkout)
    await lab.scene.said(
        one,
        """
        echo changed > README.md; echo new > src/new.py; chmod +x src/main.py; rm -r gone
        rm becomes-folder; mkdir becomes-folder; echo in > becomes-folder/in
        rm -r becomes-file; echo now > becomes-file; ln -sf src/main.py link
        printf x > "$(printf 'bad\\377')"; printf y > ' -rf'; printf z > "$(printf 'new\\nline')"
        mkdir -p long; printf l > long/$(printf 'n%.0s' $(seq 200))
        """,
    )
    await lab.freeze(one)
    changes = await lab.packed(one)
    for _ in range(2):
        await lab.lay(other, changes)
    await lab.freeze(other)
    assert await lab.packed(other) == changes


CONTENT = b"content"


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "../out", "kind": "deleted"},
        {"path": "/etc/passwd", "kind": "deleted"},
        {"path": ".git/hooks/x", "kind": "file", "mode": "100755", "member": "0"},
        {"path": "a//b", "kind": "deleted"},
        {"path": "", "kind": "deleted"},
        {"path": "x", "kind": "device", "mode": "100644", "member": "0"},
        {"path": "x", "kind": "file", "mode": "104755", "member": "0"},
        {"path": "x", "kind": "file", "mode": "100644", "member": "7"},
        {"path": "x", "kind": "file", "mode": "100644", "member": "0", "sha256": "0" * 64},
        {"pathBase64": "not base64!", "kind": "deleted"},
        {"path": "x/" * 3000 + "x", "kind": "deleted"},
        {"path": "x", "kind": "file", "mode": "100644", "member": "0", "size": 8},
        {"kind": "deleted"},
        "nonsense",
    ],
)
async def test_what_is_no_change_set_changes_nothing(lab: Lab, entry: Any) -> None:
    sandbox = await lab.create(lab.checkout())
    if isinstance(entry, dict) and entry.get("kind") != "deleted":
        entry = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()} | entry
    manifest = json.dumps({"version": 1, "base": None, "entries": [entry], "left": []}).encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in (("manifest.json", manifest), ("0", CONTENT)):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    with pytest.raises(SignalboxError) as refused:
        await lab.lay(sandbox, packed.getvalue())
    assert refused.value.code == "bad_changes"
    assert await lab.scene.said(sandbox, "git status --porcelain") == ""
    await lab.scene.change(sandbox, "destroy")


async def test_a_submodule_is_one_entry(lab: Lab) -> None:
    """Its own changes are left; taken away, or replaced, it is that."""
    names = ("changed", "removed", "with/removed", "becomes-file", "becomes-folder", "untouched")
    files: dict[str, bytes | str] = {"a": b"a\n", "with/b": b"b\n"}
    checkout = lab.checkout(files | {f"{name}/x": b"x\n" for name in names})
    for name in names:  # as a tree has them that was prepared with submodules
        link = checkout.folder / "tree" / name / ".git"
        link.write_text("gitdir: ../.git/modules/x\n")
        if os.geteuid() == 0:
            os.chown(link, UID, UID)
    script = """
        set -e
        echo more >> changed/x; echo new > changed/new
        rm -r removed with
        rm -r becomes-file; echo now > becomes-file
        rm -r becomes-folder; mkdir becomes-folder; echo now > becomes-folder/y
        cat untouched/x
    """
    found = await lab.changed(await lab.create(checkout), script)
    assert found.kinds == {
        b"becomes-file": "file",
        b"becomes-folder": "deleted",
        b"becomes-folder/y": "file",
        b"removed": "deleted",
        b"with/b": "deleted",
        b"with/removed": "deleted",
    }
    assert found.left == {b"changed": "repository"}
