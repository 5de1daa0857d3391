"""The local secret store: rows that were altered, rotations that stop, key files that are lost."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from signalbox_common.db import Database
from signalbox_common.errors import SignalboxError
from signalbox_common.secrets import (
    KeyFile,
    KeyFileMissing,
    KeyFileUnusable,
    LocalSecrets,
    Secret,
    SecretStore,
    SecretStoreUnavailable,
    SecretUnreadable,
    local,
)
from signalbox_common.secrets.envelope import Key
from tests.support.installation import Installation
from tests.support.lab import LabSettings
from tests.support.secret_stores import VALUE, Local

pytestmark = pytest.mark.fresh  # whole streams and tables are counted
ROTATE_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from signalbox_common.db import Database
from signalbox_common.secrets import KeyFile, LocalSecrets, local
from signalbox_common.settings import OwnerSettings

class Doomed(KeyFile):
    lives = int(sys.argv[2])

    def newest(self):
        self.lives -= 1
        if self.lives < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().newest()

local.BATCH = 2
keys = Doomed(Path(sys.argv[1]), os.environ["SECRET_KEY"])
asyncio.run(LocalSecrets(Database(OwnerSettings(service="tasks")), keys).rotate())
"""


class Meddled(KeyFile):
    """Lets something else happen, once, at the moments that matter to others."""

    def __init__(self, kept: Local, **acts: Callable[[], Coroutine[Any, Any, object]]) -> None:
        super().__init__(kept.path, kept.secret_key)
        self.acts = acts
        self._loop = asyncio.get_running_loop()

    def find(self, key_id: str) -> Key | None:
        self._act("before_find")
        return super().find(key_id)

    def newest(self) -> Key:
        key = super().newest()
        self._act("after_newest")
        return key

    def add(self) -> Key:
        key = super().add()
        self._act("after_add")
        return key

    def _act(self, moment: str) -> None:
        if moment in self.acts:
            asyncio.run_coroutine_threadsafe(self.acts.pop(moment)(), self._loop).result()


@pytest.fixture
async def kept(installation: Installation, tmp_path: Path) -> AsyncIterator[Local]:
    database = Database(installation.settings(LabSettings, "tasks"))
    yield Local(installation, database, tmp_path / "secrets" / "keys.json")
    await database.close()


@pytest.fixture(params=["local"])
def reopen(request: pytest.FixtureRequest) -> Callable[[], SecretStore]:
    """Opens the store once more, as another process would."""
    match request.param:
        case "local":
            kept: Local = request.getfixturevalue("kept")
            return kept.open
    raise ValueError(request.param)


@pytest.fixture
def store(reopen: Callable[[], SecretStore]) -> SecretStore:
    return reopen()


async def test_nothing_of_a_value_stands_in_the_database(kept: Local) -> None:
    store = kept.open()
    for name in ("one", "two"):
        await store.put(name, VALUE)
    await store.rotate()
    async with kept.installation.sql() as connection:
        rows = await connection.fetch("select t.*, t::text as text from tasks.secrets t")
    assert len(rows) == 2
    material = [key.material for key in kept.keys()._load()]
    for row in rows:
        raw = b"".join(row[column] for column in ("wrapped_key", "sealed_value")) + row["text"].encode()
        for part in (VALUE, VALUE[:8], *material):
            assert part not in raw
            assert part.hex().encode() not in raw
    assert rows[0]["sealed_value"] != rows[1]["sealed_value"], "every put has a key of its own"


OF_OTHER = "from tasks.secrets where name = 'other'"
FLIPPED = [
    f"{column} = set_byte({column}, {place}, get_byte({column}, {place}) # 1)"
    for column in ("wrapped_key", "sealed_value")
    for place in (0, 12, 30, f"length({column}) - 1")
]


@pytest.mark.parametrize(
    "change",
    [
        *FLIPPED,
        "version = version + 1",
        "version = version - 1",
        "kek = 'unknown'",
        "kek = (select kek from tasks.secrets where name = 'newer')",
        f"wrapped_key = (select wrapped_key {OF_OTHER})",
        f"sealed_value = (select sealed_value {OF_OTHER})",
        f"(wrapped_key, sealed_value) = (select wrapped_key, sealed_value {OF_OTHER})",
        "wrapped_key = substr(wrapped_key, 1, 20)",
        "sealed_value = ''",
        "wrapped_key = ''",
        "created_at = created_at + interval '1 microsecond'",
        "updated_at = updated_at - interval '1 microsecond'",
    ],
)
async def test_an_altered_row_is_unreadable_and_nothing_else(kept: Local, change: str) -> None:
    store = kept.open()
    for name in ("token", "other"):
        await store.put(name, VALUE)
    kept.keys().add()
    newer = await store.put("newer", VALUE)
    await kept.tamper(f"update tasks.secrets set {change} where name = 'token'")
    for reader in (store, kept.open()):
        with pytest.raises(SecretUnreadable, match="the secret token cannot be read") as caught:
            await reader.get("token")
        assert not isinstance(caught.value, SignalboxError), "no answer that could be taken for final"
        assert VALUE.decode() not in str(caught.value)
    assert await store.get("newer") == newer
    assert (await store.put("token", VALUE)).version >= 1
    assert (await store.get("token")).value == VALUE, "a new value repairs it"


async def test_rows_cannot_change_names(kept: Local) -> None:
    store = kept.open()
    await store.put("mine", b"mine")
    await store.put("yours", b"yours")
    await kept.tamper("update tasks.secrets set name = 'x' where name = 'yours'")
    await kept.tamper("update tasks.secrets set name = 'yours' where name = 'mine'")
    for name in ("x", "yours"):
        with pytest.raises(SecretUnreadable):
            await store.get(name)


async def test_an_old_value_cannot_come_back_under_a_new_version(kept: Local) -> None:
    store = kept.open()
    await store.put("token", b"old")
    async with kept.installation.sql() as connection:
        old = await connection.fetchrow("select * from tasks.secrets")
    await store.put("token", VALUE)
    await kept.tamper(
        "update tasks.secrets set kek = $1, wrapped_key = $2, sealed_value = $3, updated_at = $4",
        old["kek"],
        old["wrapped_key"],
        old["sealed_value"],
        old["updated_at"],
    )
    with pytest.raises(SecretUnreadable):
        await store.get("token")


async def test_a_rotation_passes_over_what_is_unreadable_and_keeps_its_key(
    kept: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "KEPT", timedelta(0))
    store = kept.open()
    for name in ("a", "b", "c"):
        await store.put(name, VALUE)
    old = kept.keys().newest()
    flip = "set wrapped_key = set_byte(wrapped_key, 20, get_byte(wrapped_key, 20) # 1) where name = 'b'"
    await kept.tamper(f"update tasks.secrets {flip}")
    rotated = await store.rotate()
    assert (rotated.rewrapped, rotated.unreadable) == (2, 1)
    await kept.tamper(f"update tasks.secrets {flip}")
    assert (await kept.open().get("b")).value == VALUE
    assert (await store.rotate()).rewrapped == 3
    assert kept.keys().find(old.id) is None


async def test_keys_are_kept_for_the_backups_of_a_month(kept: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    store = kept.open()
    secret = await store.put("token", VALUE)
    async with kept.installation.sql() as connection:
        backup = await connection.fetchrow("select kek, wrapped_key from tasks.secrets")
    rotated = await store.rotate()
    assert await kept.keks() == {rotated.key_id} != {backup["kek"]}
    await kept.tamper("update tasks.secrets set kek = $1, wrapped_key = $2", *backup)
    assert await kept.open().get("token") == secret
    monkeypatch.setattr(local, "KEPT", timedelta(0))
    last = await store.rotate()
    assert [key.id for key in kept.keys()._load()] == [last.key_id]
    assert await kept.open().get("token") == secret


async def test_a_put_that_hangs_does_not_escape_a_rotation(kept: Local) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        reached.set()
        await go_on.wait()

    store = kept.open()
    await store.put("token", VALUE)
    hanging = asyncio.create_task(kept.open(Meddled(kept, after_newest=hang)).put("new", VALUE))
    await reached.wait()
    rotating = asyncio.create_task(store.rotate())
    done, _ = await asyncio.wait([rotating], timeout=0.3)
    assert not done, "the rotation waits for whoever may hold the key before"
    assert (await kept.open().get("token")).value == VALUE, "while reading goes on"
    go_on.set()
    await hanging
    rotated = await rotating
    assert rotated.rewrapped == 2
    assert await kept.keks() == {rotated.key_id}


async def test_a_rotation_does_not_undo_a_newer_one(kept: Local) -> None:
    store = kept.open()
    secret = await store.put("token", VALUE)
    older = await kept.open(Meddled(kept, after_add=store.rotate)).rotate()
    assert await kept.keks() == {kept.keys().newest().id} != {older.key_id}
    assert await kept.open().get("token") == secret


async def test_a_key_may_be_retired_between_row_and_key(kept: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "KEPT", timedelta(0))
    store = kept.open()
    secret = await store.put("token", VALUE)
    first = kept.keys().newest()
    assert await kept.open(Meddled(kept, before_find=store.rotate)).get("token") == secret
    assert kept.keys().find(first.id) is None


async def test_a_rotation_retires_no_key_that_a_put_still_holds(
    kept: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The put began after this rotation's barrier, and the next rotation still waits at its own."""
    monkeypatch.setattr(local, "KEPT", timedelta(0))
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        reached.set()
        await go_on.wait()

    putting: list[asyncio.Task[Secret]] = []

    async def put_and_add() -> None:
        store = kept.open(Meddled(kept, after_newest=hang))
        putting.append(asyncio.create_task(store.put("token", VALUE)))
        await reached.wait()
        kept.keys().add()

    async def past_the_barrier() -> None:
        keys.acts["after_newest"] = put_and_add

    keys = Meddled(kept, after_add=past_the_barrier)
    await kept.open(keys).rotate()
    go_on.set()
    secret = await putting[0]
    assert await kept.open().get("token") == secret


@pytest.mark.parametrize("lives", [1, 2, 4])
async def test_a_process_killed_in_the_middle_of_a_rotation_harms_nothing(kept: Local, lives: int) -> None:
    """It dies with the new key in the file and none, two or six of ten rows wrapped with it."""
    store = kept.open()
    put: list[Secret] = [await store.put(f"secret/{number}", b"%d" % number) for number in range(10)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        ROTATE_AND_DIE,
        str(kept.path),
        str(lives),
        env=os.environ | kept.installation.environment("tasks") | {"SECRET_KEY": kept.secret_key},
    )
    assert await process.wait() == -signal.SIGKILL
    newest = kept.keys().newest().id
    assert await kept.installation.count("tasks.secrets", f"kek = '{newest}'") == (lives - 1) * 2
    for reader in (store, kept.open()):
        assert [await reader.get(secret.name) for secret in put] == put
    assert (await kept.open().put("secret/9", VALUE)).version == 2
    rotated = await store.rotate()
    assert rotated.rewrapped == 10
    assert await kept.keks() == {rotated.key_id}
    assert [await kept.open().get(secret.name) for secret in put[:9]] == put[:9]


async def test_a_lost_key_file_is_never_replaced_while_secrets_need_it(kept: Local) -> None:
    store = kept.open()
    secret = await store.put("token", VALUE)
    lost = kept.path.rename(kept.path.with_name("elsewhere"))
    for another in (store, kept.open()):
        for use in (another.put("new", VALUE), another.rotate(), another.check()):
            with pytest.raises(KeyFileMissing):
                await use
    with pytest.raises(KeyFileMissing):
        await kept.open().get("token")
    assert await store.get("token") == secret, "who knows the key goes on"
    lost.rename(kept.path)
    assert await kept.open().get("token") == secret
    assert (await store.put("new", VALUE)).version == 1


async def test_without_secrets_a_lost_key_file_is_made_anew(kept: Local) -> None:
    store = kept.open()
    await store.put("token", VALUE)
    await store.delete("token")
    kept.path.unlink()
    await store.put("token", VALUE)
    assert (await kept.open().get("token")).value == VALUE


async def test_another_secret_key_opens_nothing_and_destroys_nothing(kept: Local) -> None:
    secret = await kept.open().put("token", VALUE)
    stranger = kept.open(KeyFile(kept.path, "another"))
    for use in (stranger.get("token"), stranger.put("token", b""), stranger.rotate(), stranger.check()):
        with pytest.raises(KeyFileUnusable, match="SECRET_KEY") as caught:
            await use
        assert isinstance(caught.value, SecretStoreUnavailable)
    assert await kept.open().get("token") == secret


async def test_secrets_survive_a_change_of_the_secret_key(kept: Local) -> None:
    running = kept.open()
    secret = await running.put("token", VALUE)
    changed = kept.open(KeyFile(kept.path, "new", previous_secret_key=kept.secret_key))
    assert await changed.get("token") == secret
    assert await running.get("token") == secret
    after = kept.open(KeyFile(kept.path, "new"))
    assert await after.get("token") == secret
    assert (await after.rotate()).rewrapped == 1
    assert await changed.get("token") == secret


async def test_a_database_that_is_away_is_an_outage(kept: Local) -> None:
    away = SecretStr("postgresql://nobody@127.0.0.1:1/nothing")
    database = Database(kept.installation.settings(LabSettings, "tasks", database_url=away))
    store = LocalSecrets(database, kept.keys())
    try:
        uses = (store.put("a", VALUE), store.get("a"), store.delete("a"), store.names(), store.check())
        for use in (*uses, store.rotate()):
            with pytest.raises(SecretStoreUnavailable):
                await use
    finally:
        await database.close()
