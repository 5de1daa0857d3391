"""Signatures as ssh makes them."""

import subprocess
from pathlib import Path

import pytest

from signalbox_git.commits.signing import NoSigningKey, SigningKey, signed

COMMIT = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@b.c> 1 +0000\n\nHello\n\nthere\n"


def made(folder: Path, *options: str) -> str:
    path = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-f", str(path), *options], check=True, stdin=subprocess.DEVNULL)
    return path.read_text()


def test_it_is_what_ssh_makes(tmp_path: Path) -> None:
    key = SigningKey.read(made(tmp_path, "-t", "ed25519", "-N", "", "-C", "me"))
    ran = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(tmp_path / "key")],
        input=COMMIT,
        capture_output=True,
        check=True,
    )
    assert key.sign(COMMIT) == ran.stdout.decode().strip()
    assert key.public == " ".join((tmp_path / "key.pub").read_text().split()[:2])
    head, _, message = signed(COMMIT, key).partition(b"\n\n")
    assert message == b"Hello\n\nthere\n"
    assert head.startswith(COMMIT.partition(b"\n\n")[0] + b"\ngpgsig -----BEGIN SSH SIGNATURE-----\n ")


@pytest.mark.parametrize(
    "options",
    [
        ("-t", "ed25519", "-N", "a passphrase"),
        ("-t", "rsa", "-b", "2048", "-N", ""),
        ("-t", "ecdsa", "-N", ""),
        ("-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""),
    ],
)
def test_other_keys_are_none(tmp_path: Path, options: tuple[str, ...]) -> None:
    with pytest.raises(NoSigningKey) as refused:
        SigningKey.read(made(tmp_path, *options))
    assert refused.value.__cause__ is None
    assert refused.value.args == ()


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "\ud800"])
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(NoSigningKey):
        SigningKey.read(text)


def test_a_key_is_not_shown(tmp_path: Path) -> None:
    text = made(tmp_path, "-t", "ed25519", "-N", "")
    assert repr(SigningKey.read(text)) == "SigningKey()"
