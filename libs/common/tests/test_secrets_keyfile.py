"""The key file: made once, replaced as a whole, and refused with a sentence that tells what to do."""

import base64
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from signalbox_common.secrets import KeyFile, KeyFileMissing, KeyFileUnusable
from signalbox_common.secrets.envelope import Key

CREATE = """
import sys
from pathlib import Path
from signalbox_common.secrets import KeyFile

print("ready", flush=True)
sys.stdin.readline()
print(KeyFile(Path(sys.argv[1]), "secret").create().id)
"""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets" / "keys.json"


@pytest.fixture
def made(path: Path) -> KeyFile:
    keys = KeyFile(path, "secret")
    keys.create()
    return keys


def again(path: Path, secret_key: str = "secret", previous: str | None = None) -> KeyFile:
    """As another process would see it."""
    return KeyFile(path, secret_key, previous_secret_key=previous)


def contents(path: Path) -> set[str]:
    return {found.name for found in path.parent.iterdir()}


def test_a_file_is_made_for_its_owner_alone(path: Path, made: KeyFile) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert contents(path) == {"keys.json"}
    assert again(path).newest() == made.newest()


def test_no_key_stands_in_it_or_in_any_text(path: Path, made: KeyFile) -> None:
    made.add()
    text = path.read_text()
    for key in made._load():
        assert len(key.material) == 32
        for form in (key.material.hex(), base64.b64encode(key.material).decode(), repr(key.material)):
            assert form not in text
            assert form not in repr(key) + repr(made._content) + repr(made)
        assert base64.urlsafe_b64encode(key.material).decode() not in text


def test_processes_that_start_together_agree(path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate()[0] for process in processes}
    assert answers == {f"{again(path).newest().id}\n"}


def test_threads_that_start_together_agree(path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(lambda _: again(path).create(), range(64)))
    assert answers == {again(path).newest()}
    assert contents(path) == {"keys.json"}


def test_rotations_at_the_same_time_lose_no_key(path: Path, made: KeyFile) -> None:
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda _: again(path).add(), range(32)))
    assert all(again(path).find(key.id) == key for key in added)
    assert made.newest() == max(added, key=lambda key: key.created_at)
    assert contents(path) == {"keys.json", "keys.json.lock"}


def test_a_rotation_elsewhere_is_seen(path: Path, made: KeyFile) -> None:
    first = made.newest()
    second = again(path).add()
    assert made.known(second.id) is None
    assert made.find(second.id) == second
    third = again(path).add()
    assert made.newest() == third
    assert made.known(first.id) == first
    assert made.find("another") is None


def test_the_newest_key_is_the_newest_even_when_the_clock_was_set_back(made: KeyFile) -> None:
    ahead = Key("ahead", datetime.now(UTC) + timedelta(days=1), bytes(32))
    made._change(lambda keys: (*keys, ahead))
    added = made.add()
    assert made.newest() == added
    assert added.created_at > ahead.created_at


def test_only_what_was_superseded_and_is_not_needed_is_retired(path: Path, made: KeyFile) -> None:
    first, second, third = made.newest(), made.add(), made.add()
    before = path.read_bytes()
    made.retire({second.id}, superseded_by=LONG_AGO)
    assert path.read_bytes() == before, "the successors are too young"
    made.retire({second.id}, superseded_by=datetime.now(UTC))
    assert [again(path).find(key.id) for key in (first, second, third)] == [None, second, third]
    made.retire(set(), superseded_by=datetime.now(UTC))
    assert [again(path).find(key.id) for key in (second, third)] == [None, third]


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o601, 0o666])
def test_a_file_that_is_open_to_others_is_refused(path: Path, made: KeyFile, mode: int) -> None:
    path.chmod(mode)
    for keys in (made, again(path)):
        with pytest.raises(KeyFileUnusable, match=f"open to other users: chmod 600 {path}"):
            keys.newest()
    path.chmod(0o600)
    assert made.newest()


def test_a_link_is_refused(path: Path, made: KeyFile) -> None:
    moved = path.rename(path.with_name("elsewhere"))
    path.symlink_to(moved)
    for keys in (made, again(path)):
        with pytest.raises(KeyFileUnusable, match="symbolic link"):
            keys.newest()
        with pytest.raises(KeyFileUnusable, match="symbolic link"):
            keys.create()


def test_nothing_but_a_file_is_read(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyFileUnusable, match="not a regular file"):
        again(path).newest()
    path.unlink()
    path.mkdir()
    with pytest.raises(KeyFileUnusable, match=str(path)):
        again(path).newest()


def test_the_file_of_another_user_is_refused(
    path: Path, made: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(KeyFileUnusable, match=f"belongs to another user: chown .* {path}"):
        again(path).newest()


@needs_root
def test_what_root_changes_stays_with_its_owner(path: Path, made: KeyFile) -> None:
    os.chown(path, 12345, 54321)
    added = again(path).add()
    assert again(path).newest() == added
    for name in contents(path):
        status = path.with_name(name).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (12345, 54321, 0o600)


@needs_root
def test_root_gives_nothing_away_that_was_there(path: Path, made: KeyFile, tmp_path: Path) -> None:
    (tmp_path / "shadow").touch(0o600)
    path.with_name("keys.json.lock").hardlink_to(tmp_path / "shadow")
    os.chown(path, 12345, 54321)
    made.add()
    assert path.stat().st_uid == 12345
    assert (tmp_path / "shadow").stat().st_uid == 0


@needs_root
def test_what_root_makes_belongs_to_the_owner_of_the_folder(path: Path) -> None:
    path.parent.mkdir()
    os.chown(path.parent, 12345, 54321)
    again(path).create()
    assert path.stat().st_uid == 12345


def test_another_secret_key_is_told_apart_from_a_damaged_file(path: Path, made: KeyFile) -> None:
    before = path.read_bytes()
    for keys in (again(path, "another"), again(path, "another", previous="a third")):
        for use in (keys.newest, keys.create, keys.add):
            with pytest.raises(KeyFileUnusable, match="does not belong to this SECRET_KEY"):
                use()
    assert path.read_bytes() == before
    assert contents(path) == {"keys.json", "keys.json.lock"}


@pytest.mark.parametrize("length", [0, 1, 20, 100, -2])
def test_a_truncated_file_is_called_damaged_and_left_alone(path: Path, made: KeyFile, length: int) -> None:
    damaged = path.read_bytes()[:length]
    path.write_bytes(damaged)
    for keys in (made, again(path)):
        for use in (keys.newest, keys.create, keys.add):
            with pytest.raises(KeyFileUnusable, match=f"{path} is damaged"):
                use()
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("change", ["id", "created_at", "wrapped", "swapped", "version", "empty"])
def test_nothing_in_it_can_be_altered(path: Path, made: KeyFile, change: str) -> None:
    made.add()
    document = json.loads(path.read_text())
    first, second = document["keys"]
    match change:
        case "id":
            first["id"] = "another"
        case "created_at":
            first["created_at"] = "2100-01-01T00:00:00Z"
        case "wrapped":
            first["wrapped"] = base64.urlsafe_b64encode(b"short").decode()
        case "swapped":
            first["wrapped"], second["wrapped"] = second["wrapped"], first["wrapped"]
        case "version":
            document["version"] = 2
        case "empty":
            document["keys"] = []
    path.write_text(json.dumps(document))
    for keys in (made, again(path)):
        with pytest.raises(KeyFileUnusable, match=r"was altered|of a later version"):
            keys.newest()


def test_a_file_that_went_away_is_missed_before_anything_is_wrapped(path: Path, made: KeyFile) -> None:
    key = made.newest()
    path.unlink()
    for use in (made.newest, made.add, again(path).newest, partial(again(path).find, key.id)):
        with pytest.raises(KeyFileMissing, match=f"{path} is missing: restore it"):
            use()
    assert made.find(key.id) == key, "what is there can still be read"


def test_a_change_that_fails_leaves_the_file_as_it_was(
    path: Path, made: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def refuse(*_given: object) -> None:
        raise OSError(28, "No space left on device")

    for target, name in ((Path, "replace"), (os, "fsync")):
        with monkeypatch.context() as patched:
            patched.setattr(target, name, refuse)
            with pytest.raises(KeyFileUnusable, match=r"No space left on device"):
                made.add()
        assert path.read_bytes() == before
        assert contents(path) == {"keys.json", "keys.json.lock"}
    assert made.add() == again(path).newest()


def test_the_secret_key_can_be_changed(path: Path, made: KeyFile) -> None:
    first, second = made.newest(), made.add()
    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(lambda _: again(path, "new", previous="secret").newest(), range(16)))
    assert answers == {second}
    assert [again(path, "new").find(key.id) for key in (first, second)] == [first, second]
    assert path.stat().st_mode & 0o777 == 0o600
    assert made.find(first.id) == first, "a process of before the change goes on reading"
    with pytest.raises(KeyFileUnusable, match="SECRET_KEY"):
        made.newest()


def test_only_the_operator_learns_the_reason(path: Path) -> None:
    with pytest.raises(KeyFileMissing) as caught:
        again(path).newest()
    failure = caught.value.failure()
    assert (failure.status, failure.code) == (503, "secrets_unavailable")
    assert str(path) in str(caught.value)
    assert str(path) not in failure.model_dump_json()
