"""Ids and keys derived from the secret."""

import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_common.keys import (
    CommandIds,
    OperationIds,
    OperationRef,
    Sealer,
    derive,
    is_canonical_uuid,
    uuid7,
)

IDS = OperationIds("secret")
REF = OperationRef(
    command_id=uuid.UUID("01234567-89ab-8def-8123-456789abcdef"),
    user_id=uuid.UUID("11111111-1111-7111-8111-111111111111"),
    project_id=None,
    command="cmd.auth.v1.create-project",
    created_at=datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
)


def test_uuid7_is_ordered_by_time_and_canonical() -> None:
    ids = [uuid7() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(found.version == 7 and found.variant == uuid.RFC_4122 for found in ids)
    assert [i.int >> 80 for i in ids] == sorted(i.int >> 80 for i in ids)


@pytest.mark.parametrize("text", ["", "*", ">", "_", "{0}", str(REF.command_id).upper(), REF.command_id.hex])
def test_only_canonical_ids_pass(text: str) -> None:
    assert not is_canonical_uuid(text)
    assert is_canonical_uuid(str(uuid7()))


def test_every_purpose_has_its_own_key() -> None:
    assert derive("secret", "one") != derive("secret", "two") != derive("other", "two")


def test_command_ids_are_the_same_everywhere_and_differ_in_everything() -> None:
    ids = CommandIds("secret")
    base = ("user", "POST", "/api/v1/projects", "key")
    assert ids.for_key(*base) == CommandIds("secret").for_key(*base)
    assert ids.for_key(*base).version == 8
    others = {
        ids.for_key("another", *base[1:]),
        ids.for_key("user", "PUT", *base[2:]),
        ids.for_key("user", "POST", "/api/v1/other", "key"),
        ids.for_key(*base[:3], "another"),
        ids.for_key("user", "POST", "/api/v1/project", "skey"),
        CommandIds("another secret").for_key(*base),
    }
    assert len(others | {ids.for_key(*base)}) == 7


def test_digests_do_not_depend_on_the_order_of_fields() -> None:
    ids = CommandIds("secret")
    one = ids.digest("/p", {"a": "1", "b": "2"}, None, {"x": 1, "y": 2})
    assert one == ids.digest("/p", {"b": "2", "a": "1"}, None, {"y": 2, "x": 1})
    assert one != ids.digest("/p", {"a": "1", "b": "2"}, uuid7(), {"x": 1, "y": 2})
    assert one != ids.digest("/p", {"a": "1"}, None, {"x": 1, "y": 2})


@given(
    st.uuids(),
    st.uuids(),
    st.none() | st.uuids().filter(lambda found: found.int != 0),
    st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants naive bounds
)
def test_operation_ids_say_what_they_were_given(
    command: uuid.UUID, user: uuid.UUID, project: uuid.UUID | None, created_at: datetime
) -> None:
    ref = OperationRef(command, user, project, "cmd.auth.v1.create-project", created_at)
    read = IDS.read(IDS.mint(ref))
    assert read is not None
    assert (read.command_id, read.user_id, read.project_id, read.command) == (
        command,
        user,
        project,
        ref.command,
    )
    assert abs(read.created_at - created_at).total_seconds() < 0.002
    assert read.service == "auth"


@given(st.integers(min_value=0), st.sampled_from("ABCabc019-_"))
def test_a_changed_operation_id_means_nothing(position: int, letter: str) -> None:
    minted = IDS.mint(REF)
    place = 3 + position % (len(minted) - 3)
    changed = minted[:place] + letter + minted[place + 1 :]
    read = IDS.read(changed)
    # The last letter carries unused bits: a change there may decode to the same bytes.
    assert read is None or changed == minted or (place == len(minted) - 1 and read == IDS.read(minted))


@given(st.text(max_size=300))
def test_nonsense_is_no_operation_id(text: str) -> None:
    assert IDS.read(text) is None
    assert IDS.read(f"op_{text}") is None


def test_operation_ids_of_another_installation_mean_nothing() -> None:
    assert OperationIds("another").read(IDS.mint(REF)) is None


def test_sealed_secrets_open_only_with_key_and_context() -> None:
    sealer = Sealer("secret", "purpose")
    sealed = sealer.seal(b"plain", "k1")
    assert b"plain" not in sealed
    assert sealed != sealer.seal(b"plain", "k1")
    assert Sealer("secret", "purpose").open(sealed, "k1") == b"plain"
    for other, context in ((Sealer("other", "purpose"), "k1"), (sealer, "k2"), (Sealer("secret", "x"), "k1")):
        with pytest.raises(ValueError, match="SECRET_KEY"):
            other.open(sealed, context)
