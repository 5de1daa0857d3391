"""What contracts say that their owners refuse, and what the owners have to refuse with."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from signalbox_common import contracts, errors
from signalbox_common.contracts.base import Ask, Command, GrantScope, Request, contracts_of
from signalbox_common.contracts.refusals import GRANTED, refusals_of
from signalbox_common.errors import SignalboxError
from signalbox_gateway.refusals import UNDECLARED, declared_by

GENERAL = {
    (kind.code, kind.status)
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, SignalboxError)
}


def _ours() -> list[type[Request[Any]]]:
    return [c for c in contracts_of(Request) if c.__module__.startswith(contracts.__name__)]


def _errors_of(service: str) -> Iterator[type[SignalboxError]]:
    """The final ones."""
    module = importlib.import_module(f"signalbox_{service}.errors")
    for kind in vars(module).values():
        own = isinstance(kind, type) and kind.__module__ == module.__name__
        if own and issubclass(kind, SignalboxError) and kind.status < 500:
            yield kind


@pytest.mark.parametrize("contract", _ours(), ids=lambda contract: contract.__name__)
def test_an_owner_has_every_refusal_that_its_contract_declares(contract: type[Request[Any]]) -> None:
    if not contract.refusals:
        return
    own = _errors_of(contract.owner()) if contract.owner() != "*" else ()
    there = {(kind.code, kind.status) for kind in own} | set(GRANTED.items()) | GENERAL
    assert set(contract.refusals.items()) <= there


@pytest.mark.parametrize("service", ["auth", "catalog"])
def test_every_refusal_that_an_owner_has_is_declared_by_a_contract(service: str) -> None:
    declared = {pair for c in _ours() if c.owner() in (service, "*") for pair in refusals_of(c).items()}
    assert {(kind.code, kind.status) for kind in _errors_of(service)} <= declared | GENERAL


def test_kind_and_grant_bring_their_refusals_along() -> None:
    for contract in _ours():
        found = refusals_of(contract)
        assert ("unauthenticated" in found) >= (contract.grant is not GrantScope.NONE)
        assert ("role_too_low" in found) >= (contract.grant is GrantScope.PROJECT)
        assert ("admin_required" in found) is contract.admin
        assert ("session_required" in found) is contract.in_person
        assert ("idempotency_key_reused" in found) is (
            issubclass(contract, Command) or (issubclass(contract, Ask) and contract.once)
        )
        assert ("already_done" in found) >= (issubclass(contract, Ask) and contract.once)


class NoLuck(errors.Conflict):
    code = "no_luck_today"


class SlugTaken(errors.Conflict):
    code = "slug_taken"


class SlugInvalid(errors.Invalid):
    code = "slug_taken"


def test_what_is_answered_without_being_declared_is_noted() -> None:
    with pytest.raises(SignalboxError), declared_by(contracts.auth.CreateProject):
        raise SlugTaken
    with pytest.raises(SignalboxError), declared_by(contracts.auth.CreateProject):
        raise errors.Unavailable
    assert not UNDECLARED
    with pytest.raises(SignalboxError), declared_by(contracts.auth.CreateProject):
        raise NoLuck
    with pytest.raises(SignalboxError), declared_by(contracts.auth.CreateProject):
        raise SlugInvalid
    assert {"CreateProject: no_luck_today (409)", "CreateProject: slug_taken (422)"} == UNDECLARED
    UNDECLARED.clear()
