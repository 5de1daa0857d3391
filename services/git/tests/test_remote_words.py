"""What a remote says of itself, and of what is wrong, is taken for no more than that."""

import pytest

from signalbox_common import remote_urls
from signalbox_git.command import GitFailed
from signalbox_git.mirrors.mirror import looks_corrupt
from signalbox_git.remotes.access import Access
from signalbox_git.remotes.remote import Remote, _refs_of

COMMIT = "a" * 40


@pytest.mark.parametrize(
    ("says", "head"),
    [
        (b"ref: refs/heads/main\tHEAD\n", "main"),
        (b"ref: refs/heads/task/1\tHEAD\n", "task/1"),
        (b"ref: refs/heads/../../x\tHEAD\n", None),
        (b"ref: refs/heads/-x\tHEAD\n", None),
        (b"ref: refs/heads/\xff\tHEAD\n", None),
        (b"ref: refs/heads/\tHEAD\n", None),
        (b"ref: refs/tags/v1\tHEAD\n", None),
        (b"ref: /etc/passwd\tHEAD\n", None),
        (b"", None),
    ],
)
def test_where_it_begins(says: bytes, head: str | None) -> None:
    found = _refs_of(says + f"{COMMIT}\trefs/heads/main\n".encode())
    assert found.head == head
    assert found.mirrored == {"refs/heads/main": COMMIT}


def test_its_words_do_nothing_to_a_terminal() -> None:
    url = remote_urls.parse("https://forge.example/a/b")
    refused = Remote(url, None, Access(str(url)))._refused("fatal: \x1b[2J\x1b]0;title\x07go away\x00\n")
    assert (refused.reason, refused.detail) == ("failed", "fatal: [2J]0;titlego away")


@pytest.mark.parametrize(
    ("complaint", "is_ours"),
    [
        ("fatal: bad object refs/heads/main", True),
        ("remote: counting\nerror: packfile x.pack does not match index", True),
        ("remote: fatal: bad object HEAD\nfatal: early EOF", False),
        ("fatal: remote error: upload-pack: not our ref\nfatal: bad object HEAD", False),
        ("fatal: protocol error: bad line length character: corrupt", False),
    ],
)
def test_what_counts_as_damage_of_our_own(complaint: str, is_ours: bool) -> None:
    assert looks_corrupt(GitFailed(["fetch"], 128, complaint)) is is_ours
