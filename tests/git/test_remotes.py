"""Remotes over smart HTTP and ssh: reached with their credential, at addresses that were looked at."""

import base64
import ipaddress
import os
import socket
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from signalbox_common import addresses, remote_urls
from signalbox_common.addresses import PrivateHosts
from signalbox_git.command import GitDirectory, GitFailed
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential, scrubbed
from signalbox_git.remotes.remote import RemoteRefs, remote
from tests.support.remotes import SSHD, TOKEN, HttpRemote, SshRemote, answering, new_repository

ALL = ("+refs/heads/*:refs/heads/*",)
LOOPBACK = PrivateHosts.parse("127.0.0.0/8")
needs_sshd = pytest.mark.skipif(SSHD is None, reason="there is no sshd on this machine")


@pytest.fixture
def http(tmp_path: Path) -> Iterator[HttpRemote]:
    with HttpRemote.serving(tmp_path / "served") as found:
        found.new("app.git")
        yield found


@pytest.fixture
async def ssh(tmp_path: Path) -> AsyncIterator[SshRemote]:
    async with SshRemote.serving(tmp_path) as found:
        new_repository(tmp_path / "app.git")
        yield found


@pytest.fixture
def reach(tmp_path: Path) -> Reach:
    return Reach(tmp_path / "repositories", LOOPBACK)


async def refs_of(
    url: str, reach: Reach, credential: Credential | None = None, host_keys: str | None = None
) -> tuple[RemoteRefs, str | None]:
    scratch = GitDirectory.make(reach.root.parent / "scratch")
    async with remote(remote_urls.parse(url), credential, reach, host_keys) as found:
        return await found.refs(scratch), found.access.host_keys()


async def refused(url: str, reach: Reach, credential: Credential | None = None, **more: str) -> RemoteRefused:
    with pytest.raises(RemoteRefused) as refusal:
        await refs_of(url, reach, credential, **more)
    return refusal.value


async def test_it_is_fetched_with_its_token(http: HttpRemote, reach: Reach, tmp_path: Path) -> None:
    url = http.url("app.git")
    found, _ = await refs_of(url, reach, Credential(TOKEN))
    assert (found.head, sorted(found.refs)) == ("main", ["HEAD", "refs/heads/main"])
    mirror = GitDirectory.make(tmp_path / "mirror")
    heard: list[bytes] = []
    async with remote(remote_urls.parse(url), Credential(TOKEN), reach) as there:
        await there.fetch(mirror, ALL, within=30, hear=heard.append)
    assert await mirror.line("rev-parse", "refs/heads/main") == found.refs["HEAD"]
    assert b"%" in b"".join(heard)
    written = b"".join(path.read_bytes() for path in mirror.folder.rglob("*") if path.is_file())
    assert TOKEN.encode() not in written


async def test_why_it_is_not_reached(http: HttpRemote, reach: Reach, tmp_path: Path) -> None:
    url, token = http.url("app.git"), Credential(TOKEN)
    assert (await refused(url, reach)).reason == "unauthorized"
    assert (await refused(url, reach, Credential("wrong"))).reason == "unauthorized"
    assert (await refused(http.url("other.git"), reach, token)).reason == "not_found"
    assert (await refused(http.url("app.git", "nowhere.invalid"), reach)).reason == "unresolved"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/app.git"
        assert (await refused(nobody, reach)).reason == "unreachable"
    secure = http.url("app.git").replace("http:", "https:")
    assert (await refused(secure, reach)).reason == "tls"
    assert (await refused(str(tmp_path / "elsewhere.git"), reach)).reason == "private_address"
    assert (await refused(str(reach.root / "no.git"), reach)).reason == "not_found"
    for status, reason, passes in ((500, "busy", True), (503, "busy", True), (403, "unauthorized", False)):
        http.behaviours = [partial(answering, status, "")]
        why = await refused(url, reach, token)
        assert (why.reason, why.passes) == (reason, passes)


async def test_nobody_leads_it_elsewhere(http: HttpRemote, reach: Reach, tmp_path: Path) -> None:
    """Not even to where it might have gone by itself: what a redirect names, nobody has looked at."""
    with HttpRemote.serving(tmp_path / "other") as other:
        other.new("app.git")
        for status in (301, 302, 303, 307, 308):
            target = other.url("app.git/info/refs?service=git-upload-pack")
            http.behaviours = [partial(answering, status, "", Location=target)]
            assert (await refused(http.url("app.git"), reach, Credential(TOKEN))).reason == "redirected"
        assert other.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/app.git",
        "https://localhost/app.git",
        "https://169.254.169.254/latest.git",
        "https://[::1]/app.git",
        "https://[::ffff:10.0.0.1]/app.git",
        "https://0.0.0.0/app.git",
        "ssh://git@10.1.2.3/app.git",
        "git@192.168.0.1:app.git",
    ],
)
async def test_private_addresses_are_refused(url: str, tmp_path: Path) -> None:
    assert (await refused(url, Reach(tmp_path / "root"))).reason == "private_address"


def _only_looked_up_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """`forge.invalid` is at this machine, for who looks at addresses and for nobody else."""
    looked = addresses.addresses_of

    async def once(
        host: str, port: int, within: float | None, lookup: addresses.Lookup
    ) -> list[addresses.Address]:
        return await looked("127.0.0.1" if host == "forge.invalid" else host, port, within, lookup)

    monkeypatch.setattr(addresses, "addresses_of", once)


async def test_it_connects_to_the_address_that_was_looked_at(
    http: HttpRemote, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever answers for the name later is not asked: here nobody does."""
    _only_looked_up_here(monkeypatch)
    found, _ = await refs_of(http.url("app.git", "forge.invalid"), reach, Credential(TOKEN))
    assert found.head == "main"


async def test_in_the_clear_only_to_hosts_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def public(*_asked: object) -> list[addresses.Address]:
        return [ipaddress.ip_address("93.184.216.34")]

    monkeypatch.setattr(addresses, "addresses_of", public)
    why = await refused("http://forge.example/app.git", Reach(tmp_path), Credential(TOKEN))
    assert why.reason == "insecure"


async def test_the_token_is_shown_to_nobody_else(
    http: HttpRemote, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no argument and in no environment while git runs, in no file, and in no word that comes out."""
    seen: list[bytes] = []
    monkeypatch.setattr(tempfile, "tempdir", tempfile.mkdtemp(prefix="sbx-"))

    def spy(handler: object) -> bool:
        del handler
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                if process.name.isdecimal() and (process / "comm").read_text().startswith("git"):
                    seen.append((process / "cmdline").read_bytes() + (process / "environ").read_bytes())
        return False

    http.behaviours = [spy]
    await refs_of(http.url("app.git"), reach, Credential(TOKEN))
    assert any(b"ls-remote" in each for each in seen)
    assert not any(TOKEN.encode() in each for each in seen)
    assert not list(Path(tempfile.gettempdir()).iterdir())
    Path(tempfile.gettempdir()).rmdir()
    told = f"https://x:{TOKEN}@host, Basic {'eC1hY2Nlc3MtdG9rZW46Y2FuYXJ5LXRva2VuLTRmMWQ5YQ=='}"
    assert TOKEN not in scrubbed(told, Credential(TOKEN))
    assert "eC1hY2" not in scrubbed(told, Credential(TOKEN))


async def test_the_token_is_for_its_own_address_alone(http: HttpRemote, reach: Reach, tmp_path: Path) -> None:
    """Whatever else git asks it for, it has no answer: also where something has led git elsewhere."""
    scratch = GitDirectory.make(tmp_path / "scratch")
    async with remote(remote_urls.parse(http.url("app.git")), Credential(TOKEN), reach) as there:

        async def asked(protocol: str, host: str, path: str) -> bytes:
            given = f"protocol={protocol}\nhost={host}\npath={path}\n\n".encode()
            return await scratch.run("credential", "fill", given=given, config=there.access.config)

        host = f"127.0.0.1:{http.port}"
        assert f"password={TOKEN}\n".encode() in await asked("http", host, "app.git")
        for other in (
            ("https", host, "app.git"),
            ("http", "127.0.0.1", "app.git"),
            ("http", host, "other.git"),
            ("http", host, ""),
        ):
            with pytest.raises(GitFailed, match="could not read Username"):
                await asked(*other)


async def test_what_outlives_us_starts_nothing_that_has_the_token(
    http: HttpRemote, reach: Reach, tmp_path: Path
) -> None:
    """git goes on for a while when we are killed: where nobody listens any more it keeps nothing itself."""
    scratch = GitDirectory.make(tmp_path / "scratch")
    async with remote(remote_urls.parse(http.url("app.git")), Credential(TOKEN), reach) as there:
        config, handed = there.access.config, there.access.credential
    assert handed is not None
    said = f"protocol=http\nhost=127.0.0.1:{http.port}\npath=app.git\nusername=x\npassword={TOKEN}\n\n"
    handed.path.parent.mkdir()
    try:
        await scratch.run("credential", "approve", given=said.encode(), config=config)
        assert list(handed.path.parent.iterdir()) == []
    finally:
        handed.path.parent.rmdir()


async def test_a_remote_that_hangs_is_left(
    http: HttpRemote, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.behaviours = [lambda handler: handler.connection.recv(1) == b""]
    monkeypatch.setattr("signalbox_git.remotes.remote._LOOKED_WITHIN", 1.0)
    begun = time.monotonic()
    why = await refused(http.url("app.git"), reach, Credential(TOKEN))
    assert (why.reason, why.passes) == ("timeout", True)
    assert time.monotonic() - begun < 20


async def test_a_repository_of_this_machine(reach: Reach, tmp_path: Path) -> None:
    new_repository(reach.root / "app.git")
    found, _ = await refs_of(str(reach.root / "app.git"), reach)
    assert found.head == "main"
    new_repository(tmp_path / "secret.git")
    (reach.root / "link.git").symlink_to(tmp_path / "secret.git")
    assert (await refused(str(reach.root / "link.git"), reach)).reason == "private_address"


@needs_sshd
async def test_over_ssh_with_its_key(ssh: SshRemote, reach: Reach) -> None:
    key = Credential(private_key=ssh.private_key)
    found, host_keys = await refs_of(ssh.url("app.git"), reach, key)
    assert found.head == "main"
    assert host_keys is not None
    assert "ssh-ed25519" in host_keys
    again, same = await refs_of(ssh.url("app.git"), reach, key, host_keys)
    assert (again, same) == (found, host_keys)
    assert (await refused(ssh.url("app.git"), reach)).reason == "unauthorized"
    assert (await refused(ssh.url("no.git"), reach, key)).reason == "not_found"
    assert (await refused(ssh.url("app.git"), reach, Credential(private_key="no key"))).reason == "bad_key"
    other = host_keys.replace(host_keys.split()[2][-12:], "A" * 12)
    assert (await refused(ssh.url("app.git"), reach, key, host_keys=other)).reason == "host_key_changed"
    assert os.environ.get("SSH_AUTH_SOCK") is None


@needs_sshd
async def test_over_ssh_it_connects_to_the_address_that_was_looked_at(
    ssh: SshRemote, reach: Reach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by HTTP: whoever answers for the name later is not asked."""
    _only_looked_up_here(monkeypatch)
    url = ssh.url("app.git").replace("127.0.0.1", "forge.invalid")
    found, _ = await refs_of(url, reach, Credential(private_key=ssh.private_key))
    assert found.head == "main"


async def test_what_a_remote_is_called_says_nothing_of_what_is_wrong(http: HttpRemote, reach: Reach) -> None:
    for name in ("openssl.git", "timeout.git", "not found/app.git".replace(" ", "-")):
        assert (await refused(http.url(name), reach, Credential(TOKEN))).reason == "not_found"
        http.behaviours = [partial(answering, 503, "")]
        why = await refused(http.url(name), reach, Credential(TOKEN))
        assert (why.reason, why.passes) == ("busy", True)
        http.behaviours = []


async def test_what_a_remote_repeats_is_not_passed_on(http: HttpRemote, reach: Reach) -> None:
    """Not in what is raised either: all of it stands in a row, where operators look."""

    def repeat(handler: Any) -> bool:
        said = base64.b64decode((handler.headers.get("Authorization") or "").removeprefix("Basic "))
        if said:
            handler.answer(404, b"cannot serve " + said, Content_Type="text/plain")
        return bool(said)

    http.behaviours = [repeat]
    why = await refused(http.url("app.git"), reach, Credential(TOKEN))
    told = "".join(traceback.format_exception(why))
    assert "cannot serve" in told
    assert TOKEN not in told
