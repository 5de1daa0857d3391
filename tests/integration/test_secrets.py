"""Every secret store keeps what it is given, through rotations."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from signalbox_common.db import Database
from signalbox_common.errors import Invalid
from signalbox_common.secrets import (
    SecretNotFound,
    SecretStore,
    local,
)
from signalbox_common.secrets.base import MAX_VALUE
from tests.support.installation import Installation
from tests.support.lab import LabSettings
from tests.support.secret_stores import VALUE, Local

pytestmark = pytest.mark.fresh  # whole streams and tables are counted


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


@pytest.mark.parametrize("value", [VALUE, b"", bytes(range(256)), b"x" * MAX_VALUE])
async def test_what_is_put_is_got_by_everybody(
    store: SecretStore, reopen: Callable[[], SecretStore], value: bytes
) -> None:
    before = datetime.now(UTC)
    put = await store.put("git/token", value)
    assert (put.name, put.value, put.version) == ("git/token", value, 1)
    assert before - timedelta(seconds=5) < put.created_at == put.updated_at
    assert await store.get("git/token") == put
    assert await reopen().get("git/token") == put
    assert "value" not in repr(put)


async def test_a_new_version_takes_the_place_of_the_one_before(store: SecretStore) -> None:
    first = await store.put("token", b"first")
    second = await store.put("token", VALUE)
    assert second.version == 2
    assert first.created_at == second.created_at < second.updated_at
    assert await store.get("token") == second
    await store.put("another", b"other")
    assert await store.get("token") == second


async def test_a_missing_secret_is_not_found(store: SecretStore) -> None:
    with pytest.raises(SecretNotFound) as caught:
        await store.get("token")
    assert caught.value.failure().code == "secret_not_found"


async def test_what_is_deleted_is_gone_and_may_come_again(store: SecretStore) -> None:
    await store.delete("token")
    await store.put("token", b"first")
    await store.put("token", b"second")
    for _ in range(2):
        await store.delete("token")
        with pytest.raises(SecretNotFound):
            await store.get("token")
    assert await store.names() == []
    assert (await store.put("token", VALUE)).version == 1
    assert (await store.get("token")).value == VALUE


async def test_names_are_listed_by_how_they_begin(store: SecretStore) -> None:
    assert await store.names() == []
    for name in ("git/b", "git/a", "git_a", "gitx", "model/a-1", "0"):
        await store.put(name, VALUE)
    assert await store.names() == ["0", "git/a", "git/b", "git_a", "gitx", "model/a-1"]
    assert await store.names("git/") == ["git/a", "git/b"]
    assert await store.names("git_") == ["git_a"]
    assert await store.names("%") == await store.names("git/a/") == []


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/", "/a", "a//b", "a..b", "../a", "A", "a b", "a%", "ä", "a\n", "a\x00", "_", "x" * 201],
)
async def test_other_names_are_refused(store: SecretStore, name: str) -> None:
    for use in (store.put(name, VALUE), store.get(name), store.delete(name)):
        with pytest.raises(Invalid) as caught:
            await use
        assert caught.value.code == "invalid_secret_name"


async def test_limits_are_what_they_say(store: SecretStore) -> None:
    name = "x" * 200
    with pytest.raises(Invalid) as caught:
        await store.put(name, b"x" * (MAX_VALUE + 1))
    assert caught.value.code == "too_large"
    assert (await store.put(name, b"x" * MAX_VALUE)).name == name


async def test_puts_of_one_name_at_the_same_time_are_all_counted(
    store: SecretStore, reopen: Callable[[], SecretStore]
) -> None:
    stores = [store, reopen()] * 16
    put = await asyncio.gather(*(s.put("token", b"%d" % i) for i, s in enumerate(stores)))
    assert sorted(secret.version for secret in put) == list(range(1, 33))
    assert await store.get("token") == max(put, key=lambda secret: secret.version)


async def test_a_rotation_changes_nothing_for_readers(
    store: SecretStore, reopen: Callable[[], SecretStore]
) -> None:
    put = [await store.put(f"secret/{number}", b"%d" % number) for number in range(5)]
    first = await store.rotate()
    second = await reopen().rotate()
    assert (first.rewrapped, second.rewrapped) == (5, 5)
    assert first.key_id != second.key_id
    for secret in put:
        assert await store.get(secret.name) == await reopen().get(secret.name) == secret
    assert (await store.put("secret/0", VALUE)).version == 2


async def test_an_empty_store_can_be_rotated(store: SecretStore) -> None:
    assert (await store.rotate()).rewrapped == 0
    await store.put("token", VALUE)
    assert (await store.get("token")).value == VALUE


async def test_rotations_lose_nothing_under_load(
    store: SecretStore, reopen: Callable[[], SecretStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "KEPT", timedelta(0))  # keys vanish as early as they ever could
    monkeypatch.setattr(local, "BATCH", 3)
    names = [f"secret/{number}" for number in range(12)]
    newest = {name: await store.put(name, b"0") for name in names}
    done = False

    async def write(name: str) -> None:
        writer = reopen()
        while not done:
            put = await writer.put(name, b"%d" % newest[name].version)
            assert put.version == newest[name].version + 1
            newest[name] = put

    async def read(name: str) -> None:
        while not done:
            least = newest[name]
            found = await reopen().get(name)  # one that knows no key yet
            assert found.version >= least.version
            assert found.value == b"%d" % (found.version - 1)

    async def make() -> None:
        number = 0
        while not done:
            name = f"made/{number}"
            newest[name] = await store.put(name, b"0")
            number += 1
            await asyncio.sleep(0)

    others = [
        *(asyncio.create_task(write(name)) for name in names[:4]),
        *(asyncio.create_task(read(name)) for name in names),
        asyncio.create_task(make()),
    ]
    for _ in range(4):
        await asyncio.gather(reopen().rotate(), reopen().rotate())
    done = True
    await asyncio.gather(*others)
    assert all(secret.version > 4 for secret in (newest[name] for name in names[:4]))
    assert (await store.rotate()).rewrapped == len(newest)
    assert {name: await reopen().get(name) for name in newest} == newest


async def test_a_rotation_can_be_stopped_anywhere_and_run_again(
    store: SecretStore, reopen: Callable[[], SecretStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "BATCH", 2)
    put = [await store.put(f"secret/{number}", b"%d" % number) for number in range(10)]
    finished = False
    patience = 0.001
    while not finished:
        try:
            async with asyncio.timeout(patience):
                finished = bool(await reopen().rotate())
        except TimeoutError:
            patience *= 1.3
        for secret in put:
            assert await reopen().get(secret.name) == secret
    assert (await store.rotate()).rewrapped == 10


async def test_a_store_that_works_says_so(store: SecretStore, reopen: Callable[[], SecretStore]) -> None:
    await asyncio.gather(store.check(), *(reopen().check() for _ in range(8)))
    await store.put("token", VALUE)
    await reopen().check()
