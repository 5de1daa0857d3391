"""Files of sandboxes, through the gateway: whole or not at all."""

import asyncio
import hashlib
import io
import os
import random
import tarfile
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from signalbox_common.testing import eventually
from tests.support.files import Files, files_of
from tests.support.installation import Installation
from tests.support.sandboxes import SANDBOXES

pytestmark = pytest.mark.usefixtures("patient")

MIB = 1024 * 1024


@pytest.fixture(scope="module")
async def files(shared_installation: Installation) -> AsyncIterator[Files]:
    async with files_of(shared_installation) as found:
        yield found


async def test_what_was_written_is_read(files: Files) -> None:
    content = os.urandom(3 * MIB + 7)
    await files.write("data/of/mine.bin", content, parents="true")
    assert await files.read("data/of/mine.bin") == content
    assert await files.read("/workspace/data/of/mine.bin", **{"from": "3145728"}) == content[3 * MIB :]
    digest = (await files.sh("sha256sum data/of/mine.bin")).split()[0]
    assert digest == hashlib.sha256(content).hexdigest()
    await files.write("empty", b"")
    assert await files.read("empty") == b""
    assert await files.read("empty", **{"from": "100"}) == b""


async def test_modes_stay_and_are_set(files: Files) -> None:
    await files.write("run.sh", b"#!/bin/sh\necho ran\n", mode="755")
    assert await files.sh("./run.sh") == "ran\n"
    await files.write("run.sh", b"#!/bin/sh\necho again\n")
    assert await files.sh("./run.sh") == "again\n"
    assert (await files.stat("run.sh"))["mode"] == "0755"
    await files.write("plain", b"")
    assert (await files.stat("plain"))["mode"] == "0644"
    assert (await files.put("x", b"", mode="9")).status_code == 422


async def test_what_is_there_is_listed(files: Files) -> None:
    await files.sh(
        "mkdir -p tree/a/b; echo 12345 > tree/a/file; ln -s /etc/passwd tree/link; mkfifo tree/pipe"
    )
    listed = await files.list("tree")
    assert [(each["path"], each["type"]) for each in listed["items"]] == [
        ("a", "folder"),
        ("link", "link"),
        ("pipe", "other"),
    ]
    assert listed["complete"] is True
    assert listed["items"][1]["target"] == "/etc/passwd"
    deeper = await files.list("/workspace/tree", depth="3")
    found = {each["path"]: each for each in deeper["items"]}
    assert set(found) == {"a", "a/b", "a/file", "link", "pipe"}
    assert (found["a/file"]["size"], found["a/file"]["mode"]) == (6, "0644")
    assert (await files.list("tree/a/b"))["items"] == []
    assert (await files.stat("tree/link"))["type"] == "link"


async def test_names_are_bytes(files: Files) -> None:
    await files.sh(
        "mkdir -p names; cd names; touch \"$(printf 'bad\\377name')\" 'new\nline' 'ünï' -- '-rf' '*'"
    )
    listed = (await files.list("names"))["items"]
    shown = {each["path"]: each["pathBase64"] for each in listed}
    assert shown == {"-rf": None, "*": None, "new\nline": None, "ünï": None, "bad\ufffdname": "YmFk/25hbWU="}
    await files.write("names/-rf", b"kept")
    assert await files.read("names/-rf") == b"kept"
    assert (await files.ask("DELETE", path="names/*")).status_code == 204
    assert len((await files.list("names"))["items"]) == 4


async def test_folders_are_made_moved_and_removed(files: Files) -> None:
    for path, parents in (("made", False), ("made/deep/er", True), ("made/deep/er", True)):
        made = await files.ask("POST", "/mkdir", json={"path": path, "parents": parents})
        assert made.status_code == 204, made.text
    assert await files.refused("POST", "/mkdir", json={"path": "made"}) == (409, "file_exists")
    assert await files.refused("POST", "/mkdir", json={"path": "no/such/parent"}) == (404, "file_not_found")
    await files.write("made/one", b"1")
    await files.write("made/two", b"2")
    move = {"path": "made/one", "to": "made/two"}
    assert await files.refused("POST", "/move", json=move) == (409, "file_exists")
    assert (await files.ask("POST", "/move", json=move | {"replace": True})).status_code == 204
    assert await files.read("made/two") == b"1"
    assert await files.refused("DELETE", path="made") == (409, "folder_not_empty")
    assert (await files.ask("DELETE", path="made", recursive="true")).status_code == 204
    assert await files.refused("GET", "/stat", path="made") == (404, "file_not_found")


async def test_what_cannot_be_says_so(files: Files) -> None:
    await files.sh("mkdir -p there; echo x > file; mkfifo -m 666 fifo || true; ln -sfn loop loop")
    for method, rest, query, expected in (
        ("GET", "", {"path": "nowhere"}, (404, "file_not_found")),
        ("GET", "", {"path": "there"}, (409, "not_a_file")),
        ("GET", "", {"path": "fifo"}, (409, "not_a_file")),
        ("GET", "", {"path": "/dev/zero"}, (409, "not_a_file")),
        ("GET", "", {"path": "loop"}, (422, "bad_path")),
        ("GET", "", {"path": "x" * 300}, (422, "bad_path")),
        ("GET", "", {"path": "a\0b"}, (422, "bad_path")),
        ("GET", "", {}, (422, "validation_failed")),
        ("GET", "/list", {"path": "file"}, (409, "not_a_folder")),
        ("GET", "/list", {"path": ".", "depth": "0"}, (422, "validation_failed")),
        ("DELETE", "", {"path": "/"}, (422, "bad_path")),
        ("DELETE", "", {"path": "there/.."}, (422, "bad_path")),
        ("DELETE", "", {"path": "/usr/bin/env"}, (403, "file_forbidden")),
        ("GET", "/archive", {"path": "file"}, (409, "not_a_folder")),
    ):
        assert await files.refused(method, rest, **query) == expected, (method, rest, query)
    for path, code in (
        ("there", "not_a_file"),
        ("/usr/bin/new", "file_forbidden"),
        ("no/file", "file_not_found"),
    ):
        answer = await files.put(path, b"x")
        assert answer.json()["code"] == code, path


async def test_who_is_cut_while_writing_has_changed_nothing(files: Files) -> None:
    await files.write("steady", b"before")

    async def half() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await files.put("steady", half())

    async def no_drafts() -> bool:
        return not [each for each in (await files.list())["items"] if "draft" in each["path"]]

    await eventually(no_drafts, what="nothing is left of it")
    assert await files.read("steady") == b"before"


async def test_what_is_larger_than_a_file_may_be_changes_nothing(files: Files) -> None:
    """And its sender hears why, after all that it has sent."""
    made = await files.scene.create(limits={"fileSizeMb": 1})
    small = Files(files.scene, made["id"])
    await small.write("file", b"as it was")
    answer = await small.put("file", bytes(8 * MIB))
    assert (answer.status_code, answer.json()["code"]) == (409, "file_too_large")
    assert await small.read("file") == b"as it was"
    assert [each["path"] for each in (await small.list())["items"]] == ["file"]
    await files.scene.change(made["id"], "destroy")


async def test_what_was_written_from_outside_counts(files: Files) -> None:
    made = await files.scene.create(limits={"diskMb": 40})
    full = Files(files.scene, made["id"])
    answer = await full.put("whole", bytes(41 * MIB))
    assert (answer.status_code, answer.json()["code"]) == (409, "sandbox_full")
    assert (await full.list())["items"] == [], "nothing of it is left"

    async def is_full() -> bool:
        answer = await full.put(uuid.uuid4().hex, os.urandom(8 * MIB))
        return answer.status_code == 409 and answer.json()["code"] == "sandbox_full"

    await eventually(is_full, what="what was written is counted")
    assert sum(each["size"] for each in (await full.list())["items"]) <= 80 * MIB
    await files.scene.change(made["id"], "destroy")


async def test_who_has_filled_the_disk_may_write_again_when_there_is_room(files: Files) -> None:
    made = await files.scene.create(limits={"diskMb": 40})
    full = Files(files.scene, made["id"])
    filled = await files.scene.exec(made["id"], "head -c 60M /dev/urandom > big; sleep 60")
    assert filled["signal"] == 9
    for _ in range(2):  # asked again, it is still so
        answer = await full.put("small", b"fits")
        assert (answer.status_code, answer.json()["code"]) == (409, "sandbox_full")
        assert await full.refused("POST", "/mkdir", json={"path": "folder"}) == (409, "sandbox_full")
    size = (await full.stat("big"))["size"]
    assert size > 40 * MIB
    assert len(await full.read("big", **{"from": str(size - MIB)})) == MIB
    assert (await full.ask("DELETE", path="big")).status_code == 204

    async def has_room() -> bool:
        return (await full.put("small", b"fits")).status_code == 204

    await eventually(has_room, what="what was removed is counted")
    await files.scene.change(made["id"], "destroy")


async def test_readers_see_one_version_or_another(files: Files) -> None:
    versions = [bytes([number]) * (256 * 1024) for number in range(1, 9)]
    await files.write("versions", versions[0])

    async def write() -> None:
        for version in versions:
            await files.write("versions", version)

    writing = asyncio.create_task(write())
    seen = set()
    while not writing.done():
        seen.add(await files.read("versions"))
    await writing
    assert seen <= set(versions)


async def test_a_folder_goes_out_and_comes_in_as_an_archive(files: Files) -> None:
    chosen = random.Random(7)
    content = {f"part-{number % 9}/{number}": chosen.randbytes(number * 97) for number in range(200)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    await files.ask("POST", "/mkdir", json={"path": "unpacked", "parents": True})
    sent = await files.scene.http.put(
        f"{files.path}/archive",
        params={"path": "unpacked"},
        content=packed.getvalue(),
        headers=files.scene.headers,
    )
    assert sent.status_code == 204, sent.text
    assert int(await files.sh("find unpacked -type f | wc -l")) == 200
    got = await files.ask("GET", "/archive", path="unpacked")
    assert got.status_code == 200
    with tarfile.open(fileobj=io.BytesIO(got.content)) as archive:
        found = {
            member.name.removeprefix("./"): file.read()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }
    assert found == content


async def test_much_goes_in_and_out_at_once(files: Files) -> None:
    """64 MiB, which nobody holds as a whole."""
    piece = os.urandom(MIB)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield piece

    await files.write("large", pieces())
    assert (await files.stat("large"))["size"] == 64 * MIB
    digest = hashlib.sha256(piece * 64).hexdigest()
    assert (await files.sh("sha256sum large")).split()[0] == digest
    found = hashlib.sha256()
    async with (
        httpx.AsyncClient(base_url=f"http://{files.scene.address}", timeout=60) as client,
        client.stream("GET", f"{files.path}?path=large", headers=files.scene.headers) as response,
    ):
        assert response.headers["content-length"] == str(64 * MIB)
        async for chunk in response.aiter_raw():
            found.update(chunk)
    assert found.hexdigest() == digest
    await files.ask("DELETE", path="large")


async def test_folders_of_any_depth_are_removed(files: Files) -> None:
    script = "mkdir deep; cd deep; i=0; while [ $i -lt 1500 ]; do mkdir d; cd -P d; i=$((i+1)); done"
    await files.sh(script)
    assert (await files.ask("DELETE", path="deep", recursive="true")).status_code == 204
    other = await files.scene.create()
    await files.scene.said(
        other["id"], script + "; chmod 000 /workspace/deep/d; mkdir -m 000 /workspace/shut"
    )
    await files.scene.change(other["id"], "destroy")
    await files.scene.nothing_is_left(other["id"])


async def test_files_of_a_paused_sandbox_wait(files: Files) -> None:
    made = await files.scene.create()
    other = Files(files.scene, made["id"])
    await other.write("file", b"kept")
    await files.scene.change(made["id"], "pause")
    assert await other.refused("GET", path="file") == (409, "sandbox_paused")
    await files.scene.change(made["id"], "resume")
    assert await other.read("file") == b"kept"
    await files.scene.change(made["id"], "destroy")
    assert await other.refused("GET", path="file") == (409, "sandbox_ended")


async def test_what_is_mounted_is_not_removed(files: Files) -> None:
    """And nothing of what is in it, either."""
    scene, made = files.scene, await files.scene.create()
    await scene.said(made["id"], "echo 1 > /workspace/kept; echo 1 > /home/user/kept")
    address = f"{SANDBOXES}/{made['id']}/files"
    for path in ("/workspace", "/home/user", "/", ".", "/workspace/."):
        params = {"path": path, "recursive": "true"}
        refused = await scene.http.delete(address, params=params, headers=scene.headers)
        assert refused.status_code in (403, 422), (path, refused.text)
        assert "Error(" not in refused.text
    assert await scene.said(made["id"], "cat /workspace/kept /home/user/kept") == "1\n1\n"


async def test_a_folder_to_run_in_is_counted_from_the_workspace(files: Files) -> None:
    scene, made = files.scene, await files.scene.create()
    await scene.said(made["id"], "mkdir -p deep/er")
    assert await scene.said(made["id"], "pwd", cwd="deep/er") == "/workspace/deep/er\n"
    assert await scene.said(made["id"], "pwd", cwd="/tmp") == "/tmp\n"
    refused = await scene.exec(made["id"], "pwd", cwd="nowhere", status=422)
    assert "Errno" not in refused["detail"]
