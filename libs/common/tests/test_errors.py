"""Errors say who they are, and travel as they are."""

import pytest

from signalbox_common.contracts.base import FieldError
from signalbox_common.errors import Conflict, SignalboxError, Unavailable


def test_an_error_without_a_code_of_its_own_cannot_be_written() -> None:
    with pytest.raises(TypeError, match="SlugTaken does not say its code"):
        type("SlugTaken", (Conflict,), {"detail": "Another project has this slug."})


def test_what_the_class_says_is_what_travels() -> None:
    class SlugTaken(Conflict):
        code = "slug_taken"
        detail = "Another project has this slug."
        errors = (FieldError(field="slug", message="is taken", code="taken"),)

    failure = SlugTaken().failure()
    assert (failure.code, failure.status, failure.detail) == (
        "slug_taken",
        409,
        "Another project has this slug.",
    )
    assert failure.errors == SlugTaken.errors
    assert failure.retry_after is None
    again = SignalboxError.of(failure)
    assert again.failure() == failure
    assert again.final


def test_what_may_be_tried_again_says_when() -> None:
    assert Unavailable().failure().retry_after == 1
    assert not Unavailable().final
