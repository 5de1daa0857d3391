"""Remotes that answer with whatever they like: left within a bound, for a reason that can be shown."""

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox_git.mirrors import reading
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.remotes import remote
from signalbox_git.remotes.access import RemoteRefused
from tests.support.bundles import sealed
from tests.support.hostile import FOLDER, Objects, ScriptedRepository, packet
from tests.support.hostile_lab import HostileLab
from tests.support.hostile_repositories import NAME_REFUSED
from tests.support.remotes import TOKEN

_MIB = 1024 * 1024
_SERVICE = packet(b"# service=git-upload-pack\n") + b"0000"
_ADVERTISEMENT = "application/x-git-upload-pack-advertisement"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[HostileLab]:
    with HostileLab.at(tmp_path) as found:
        yield found


async def refused(lab: HostileLab, behave: Callable[[Any], bool]) -> RemoteRefused:
    """Nothing else has happened, and nothing is said that cannot be shown."""
    lab.http.behaviours = [behave]
    begun = time.monotonic()
    with pytest.raises(RemoteRefused) as refusal:
        await lab.mirrors.fetch(lab.source("x.git"), time.time())
    assert time.monotonic() - begun < 15
    assert refusal.value.detail.isprintable()
    assert TOKEN not in refusal.value.detail
    lab.check_canaries()
    return refusal.value


def _says(body: bytes, handler: Any, kind: str = _ADVERTISEMENT) -> bool:
    handler.answer(200, body, Content_Type=kind)
    return True


SAID = {
    "nothing": b"",
    "garbage": b"\xff\x00garbage" * 100,
    "a length of nothing": _SERVICE + b"0001",
    "a length that is none": _SERVICE + b"zzzz",
    "cut off": _SERVICE + b"00ff" + b"a" * 40,
    "a line without a ref": _SERVICE + packet(b"hello\n") + b"0000",
    "an error": packet(b"ERR \x1b[2J\x1b]0;x\x07 " + TOKEN.encode() + b" \x00 bad object\n"),
    "another service": packet(b"# service=git-receive-pack\n") + b"00000000",
    "another object format": _SERVICE
    + packet(b"a" * 64 + b" refs/heads/main\0object-format=sha256\n")
    + b"0000",
}


@pytest.mark.parametrize("name", SAID)
async def test_what_is_no_answer(lab: HostileLab, name: str) -> None:
    assert (await refused(lab, partial(_says, SAID[name]))).reason in ("failed", "malformed", "busy")


async def test_one_that_hardly_says_anything(lab: HostileLab, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def drip(handler: Any) -> bool:
        handler.send_response(200)
        handler.send_header("Content-Type", _ADVERTISEMENT)
        handler.end_headers()
        for byte in _SERVICE:
            if over.wait(1.0):
                break
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
        return True

    monkeypatch.setattr(remote, "_LOOKED_WITHIN", 2.0)
    try:
        assert (await refused(lab, drip)).reason == "timeout"
    finally:
        over.set()


async def test_one_that_never_ends(lab: HostileLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes is held by git until it has all of it: its memory has a bound, and that of its children."""
    line = packet(b"a" * 40 + b" refs/heads/" + b"x" * 200 + b"\n") * 1000

    def flood(handler: Any) -> bool:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Type", _ADVERTISEMENT)
        handler.end_headers()
        handler.wfile.write(_SERVICE)
        sent = 0
        while sent < 2048 * _MIB:
            handler.wfile.write(line)
            sent += len(line)
        return True

    monkeypatch.setattr(remote, "_MEMORY_OF_LOOKING", {resource.RLIMIT_DATA: 64 * _MIB})
    assert (await refused(lab, flood)).reason == "too_large"
    await lab.check_others()


async def test_objects_are_not_fetched_from_anywhere_else(lab: HostileLab) -> None:
    """A server of files names where else objects are: nobody has looked at that address."""
    objects = Objects()
    commit = objects.commit(objects.files({b"a": b"x"}))
    where = f"http://127.0.0.1:{lab.canary.port}/objects/\n".encode()

    def files(handler: Any) -> bool:
        found = {
            "/x.git/info/refs": f"{commit}\trefs/heads/main\n".encode(),
            "/x.git/HEAD": b"ref: refs/heads/main\n",
            "/x.git/objects/info/http-alternates": where,
            "/x.git/objects/info/alternates": where,
        }.get(handler.path.partition("?")[0])
        handler.answer(404 if found is None else 200, found or b"", Content_Type="text/plain")
        return True

    await refused(lab, files)


@pytest.mark.parametrize("name", [b".git", b"..", b"a/../../x"], ids=["of git", "upwards", "a slash"])
async def test_what_a_server_of_files_gives_is_not_laid_out(lab: HostileLab, name: bytes) -> None:
    """git checks none of the objects that come so: it looks at their names when files are made of them."""
    objects = Objects()
    folder = objects.files({b"config": lab.canary.script})
    commit = objects.commit(objects.tree([(FOLDER, name, folder)]))

    def files(handler: Any) -> bool:
        path = handler.path.partition("?")[0]
        found = {
            "/x.git/info/refs": f"{commit}\trefs/heads/main\n".encode(),
            "/x.git/HEAD": b"ref: refs/heads/main\n",
        }.get(path, objects.loose("".join(path.split("/")[-2:])))
        handler.answer(404 if found is None else 200, found or b"", Content_Type="text/plain")
        return True

    lab.http.behaviours = [files]
    assert await lab.outcome_of(lab.source("x.git")) == NAME_REFUSED
    lab.check_canaries()


# -- what is our own, and what is not ------------------------------------------------------------------------


async def test_a_remote_cannot_have_the_mirror_looked_through_again_and_again(
    lab: HostileLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[Mirror] = []
    check = Mirror.check

    async def counted(mirror: Mirror) -> None:
        checks.append(mirror)
        await check(mirror)

    monkeypatch.setattr(Mirror, "check", counted)
    objects = Objects()
    good = objects.commit(objects.files({b"a": b"x"}))
    source = lab.source("x.git")
    lab.http.behaviours = [ScriptedRepository("x.git", _refs_of(good), objects.pack())]
    await lab.mirrors.fetch(source, time.time())
    bad = objects.commit(objects.files({b"b": b"x"}), good)
    broken = sealed(objects.pack()[12:14] + b"no zlib" * 20, 1)
    lab.http.behaviours = [ScriptedRepository("x.git", _refs_of(bad), broken)]
    for _ in range(3):
        with pytest.raises(RemoteRefused) as refusal:
            await lab.mirrors.fetch(source, time.time())
        assert refusal.value.reason == "malformed"
    assert len(checks) == 1
    async with lab.mirrors.held(source) as mirror:  # what is here stays
        assert await reading.resolve(mirror.git, "main", None) == good


def _refs_of(commit: str) -> list[tuple[bytes, str]]:
    return [(b"HEAD", commit), (b"refs/heads/main", commit)]


@pytest.mark.parametrize("way", ["progress", "error"])
async def test_its_words_are_not_those_of_our_disk(
    lab: HostileLab, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    async def looked(_mirror: Mirror) -> None:
        raise AssertionError("a remote has had a mirror looked through by what it says")

    monkeypatch.setattr(Mirror, "check", looked)
    said = b"fatal: bad object HEAD\nerror: packfile x is corrupt\nout of memory\n"

    def err(handler: Any) -> bool:
        if handler.command == "POST":
            told = packet(b"NAK\n") + packet(b"\2" + said) + b"0000"
            body = told if way == "progress" else packet(b"ERR " + said)
            return _says(body, handler, "application/x-git-upload-pack-result")
        return ScriptedRepository("x.git", _refs_of("e" * 40), b"")(handler)

    assert (await refused(lab, err)).reason in ("failed", "malformed", "busy")


def test_nobody_listens_by_mistake(lab: HostileLab) -> None:
    """The canary would be heard: who connects to it is seen."""
    with socket.create_connection(("127.0.0.1", lab.canary.port)), pytest.raises(AssertionError):
        lab.check_canaries()


async def test_a_fetch_that_was_cut_off_leaves_names_as_deep_as_they_are(lab: HostileLab) -> None:
    """git has written them as files, and nobody has packed them: they are in nobody's way."""
    await lab.mirrors.fetch(lab.good, time.time())
    mirror = lab.mirrors.of(lab.good)
    deep = mirror.git.folder / "refs" / "heads"
    for _ in range(1500):
        deep = deep / "d"
        deep.mkdir()
    (deep / "x.lock").touch()
    lab.http.behaviours = []
    await lab.mirrors.fetch(lab.good, time.time())
    assert not deep.exists() or list(deep.iterdir()) == []
    await mirror.discard()
    assert [path.name for path in mirror.folder.parent.iterdir() if not path.name.startswith(".")] == []
    assert list(mirror.folder.parent.glob(".gone-*")) == []
