"""Secrets in what is about to leave: found wherever they stand, in bounded time."""

import time

import pytest

from signalbox_git.commits.secrets import LookedTooLong, secrets_in

TOKEN = "ghp_" + "a1B2" * 9


@pytest.mark.parametrize("before", ["", "x = 1\n" * 5000, "var a=1;" * 5000, "a" * 2990, "\n" * 2999])
def test_it_is_found_wherever_it_stands(before: str) -> None:
    found = list(secrets_in(f"{before} {TOKEN} \n{'after' * 3000}"))
    assert [number for number, _ in found] == [before.count("\n") + 1]


@pytest.mark.parametrize(
    "text", ["", "password = input()\n", "https://example.com/a?b=c\n" * 100, "sk-" * 50]
)
def test_ordinary_text_has_none(text: str) -> None:
    assert list(secrets_in(text)) == []


def test_text_that_is_made_to_take_long_does_not() -> None:
    """Of one rule the time grows with the square of the length: 2 MiB would take most of an hour."""
    begun = time.monotonic()
    with pytest.raises(LookedTooLong):
        list(secrets_in("eyJ" * 700_000, within=1.0))
    assert time.monotonic() - begun < 20
