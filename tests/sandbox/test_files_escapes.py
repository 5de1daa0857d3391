"""Ways out of a sandbox by its files, with a canary on the host for whoever gets out."""

import io
import tarfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.files import Files, files_of
from tests.support.installation import Installation
from tests.support.sandboxes import SANDBOXES

pytestmark = pytest.mark.usefixtures("patient")

CANARY = "canary-of-the-host"


@pytest.fixture(scope="module")
async def files(shared_installation: Installation) -> AsyncIterator[Files]:
    async with files_of(shared_installation) as found:
        yield found


@pytest.fixture
def canary() -> Iterator[Path]:
    """A file of the host that everybody there may read."""
    path = Path(f"/var/tmp/{uuid.uuid4().hex}")
    path.write_text(CANARY)
    path.chmod(0o666)
    try:
        yield path
        assert path.read_text() == CANARY, "something came out"
    finally:
        path.unlink()


async def test_no_link_leads_out(files: Files, canary: Path) -> None:
    """What is there for a path is what programs of the sandbox find there."""
    depth = "../" * 20
    await files.sh(f"ln -sfn {canary} out; ln -sfn / root; ln -sfn {depth.rstrip('/')} up; rm -rf /tmp/*")
    for path in ("out", f"root{canary}", f"up{canary}", f"{depth}{canary}", str(canary)):
        assert await files.refused("GET", path=path) == (404, "file_not_found"), path
    assert (await files.put(f"root{canary}", b"overwritten")).status_code == 404
    await files.write("out", b"in its place")  # the link itself is replaced
    assert await files.read("out") == b"in its place"
    for path in ("/proc/self/root/etc/passwd", "/proc/self/fd/0", "/proc/self/cwd/file", "/proc/self/exe"):
        answer = await files.ask("GET", path=path)
        assert answer.status_code in (403, 404, 409, 422), path
    assert b"user" in await files.read("/etc/passwd")
    assert b"root:x:0:0:root:/root:/usr/sbin/nologin" in await files.read("/etc/passwd")


async def test_nobody_gets_through_while_links_are_swapped(files: Files, canary: Path) -> None:
    """A folder that is a link out, and none, and back, as fast as can be."""
    await files.sh("mkdir -p race/real; echo inside > race/real/file")
    script = f"cd race; while :; do ln -sfn real now; ln -sfn {canary.parent} now; done"
    body = {"argv": ["/bin/sh", "-c", script], "key": "swaps"}
    path = f"{SANDBOXES}/{files.id}/processes"
    assert (await files.scene.http.post(path, json=body, headers=files.scene.headers)).status_code == 201
    try:
        for number in range(60):
            read = await files.ask("GET", path=f"race/now/{canary.name if number % 2 else 'file'}")
            assert CANARY.encode() not in read.content
            await files.put(f"race/now/{canary.name}", b"overwritten")
    finally:
        ended = {"signal": 9, "tree": True}
        await files.scene.http.post(f"{path}/swaps/signal", json=ended, headers=files.scene.headers)


async def test_an_archive_lays_nothing_outside(files: Files, canary: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        link = tarfile.TarInfo("door")
        link.type, link.linkname = tarfile.SYMTYPE, str(canary.parent)
        archive.addfile(link)
        for name in (f"door/{canary.name}", f"../../..{canary}", str(canary)):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
    await files.ask("POST", "/mkdir", json={"path": "evil", "parents": True})
    answer = await files.scene.http.put(
        f"{files.path}/archive",
        params={"path": "evil"},
        content=packed.getvalue(),
        headers=files.scene.headers,
    )
    assert answer.status_code in (204, 422)
    garbage = await files.scene.http.put(
        f"{files.path}/archive", params={"path": "evil"}, content=b"x" * 4096, headers=files.scene.headers
    )
    assert (garbage.status_code, garbage.json()["code"]) == (422, "bad_archive")
