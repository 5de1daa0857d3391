"""Names, slugs and passwords."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox_auth import errors
from signalbox_auth.domain import names
from signalbox_auth.passwords import Passwords
from signalbox_auth.settings import AuthSettings

QUICK = AuthSettings(argon2_memory_kib=64, argon2_time=1)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Hello World", "hello-world"),
        ("  Ünïcödé  ", "unicode"),
        ("日本語", "project"),
        ("---", "project"),
        ("default", "project"),
        ("a" * 100, "a" * 63),
        ("x/../y", "x-y"),
    ],
)
def test_slugs_are_derived_from_names(name: str, slug: str) -> None:
    assert names.slug_of(name) == slug


@given(st.text(max_size=300), st.from_regex(r"[0-9a-f]{8}", fullmatch=True))
def test_derived_slugs_are_always_good(name: str, suffix: str) -> None:
    slug = names.slug_of(name)
    for found in (slug, names.suffixed(slug, suffix)):
        assert 0 < len(found) <= names.SLUG_LENGTH
        assert found == found.strip("-")
        assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert names.suffixed(slug, suffix).endswith(suffix)


def test_a_reserved_slug_is_refused() -> None:
    with pytest.raises(errors.SlugReserved):
        names.checked_slug("default")
    assert names.checked_slug("mine") == "mine"


def test_names_are_compared_without_case_and_width() -> None:
    assert names.folded("DEV") == names.folded("dev") == names.folded("ｄｅｖ")


async def test_passwords_verify_and_know_when_they_are_outdated() -> None:
    passwords = Passwords(QUICK)
    stored = await passwords.hash("correct horse")
    assert "correct" not in stored
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "wrong")
    assert not await passwords.verify(None, "nobody has this password")
    assert not await passwords.verify("no hash at all", "x")
    assert not passwords.outdated(stored)
    assert Passwords(AuthSettings(argon2_memory_kib=128, argon2_time=2)).outdated(stored)


def test_the_parameters_are_what_owasp_asks_for() -> None:
    settings = AuthSettings()
    assert settings.argon2_memory_kib >= 19 * 1024
    assert settings.argon2_time >= 2
