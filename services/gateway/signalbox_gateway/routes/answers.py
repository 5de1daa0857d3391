"""What a route may answer, as OpenAPI shows it: all of it follows from the contracts that it sends."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from signalbox_common.contracts.auth import GetGrant, Identify
from signalbox_common.contracts.base import Ask, Command, Failure, GrantScope, Message, Query, Request
from signalbox_common.contracts.operations import OperationStatus
from signalbox_common.contracts.refusals import is_remembered, refusals_of
from signalbox_gateway import problems

Contract = type[Request[Any]]
Responses = dict[int | str, dict[str, Any]]
Code = tuple[int, str]
"""A status, and what the problem says why."""

CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_WITH_BODY = CHANGING - {"DELETE"}
_BODY: tuple[Code, ...] = ((413, "body_too_large"), (415, "unsupported_media_type"))
_JSON: tuple[Code, ...] = ((400, "invalid_json"),)
_BY_COOKIE: tuple[Code, ...] = ((403, "csrf_check_failed"), (403, "origin_not_allowed"))
_AWAY: tuple[Code, ...] = ((503, "unavailable"),)
_TOO_MUCH: tuple[Code, ...] = ((429, "rate_limited"), (503, "overloaded"))


class Operation(Message):
    id: str
    command: str
    status: OperationStatus
    resource: str | None = None
    error: Failure | None = None
    created_at: datetime
    finished_at: datetime | None = None


def takes_key(method: str, contracts: Iterable[Contract]) -> bool:
    """Whether an `Idempotency-Key` means something; who deletes twice has deleted."""
    return method in _WITH_BODY and any(map(is_remembered, contracts))


def documented(
    method: str, contracts: Collection[Contract], grant: GrantScope, also: Iterable[Code], *, json: bool
) -> Responses:
    """Its problems by status, each with its codes; and 202 where a command may outlast the patience."""
    found: Responses = {}
    if any(issubclass(contract, Command) for contract in contracts):
        found[202] = {
            "description": "Accepted; the work goes on. `Location` names its operation.",
            "model": Operation,
        }
    by_status: dict[int, set[str]] = defaultdict(set)
    for status, code in (*_codes(method, contracts, grant, json=json), *also):
        by_status[status].add(code)
    return found | {
        status: problems.documented(status, sorted(codes)) for status, codes in sorted(by_status.items())
    }


def _codes(method: str, contracts: Collection[Contract], grant: GrantScope, *, json: bool) -> Iterable[Code]:
    yield from _TOO_MUCH
    if method in _WITH_BODY:
        yield from _BODY
        if json:
            yield from _JSON
    if grant is not GrantScope.NONE:
        asked_before = GetGrant if grant is GrantScope.PROJECT else Identify
        yield from ((status, code) for code, status in asked_before.refusals.items())
        if method in CHANGING:
            yield from _BY_COOKIE
    if contracts or grant is not GrantScope.NONE:
        yield from _AWAY
    if not contracts and grant is GrantScope.PROJECT:
        yield 422, "validation_failed"
    if takes_key(method, contracts):
        yield 422, "bad_idempotency_key"
    for contract in contracts:
        yield from _refusals(contract)
        if issubclass(contract, Command):
            yield from ((503, "queue_full"), (503, "outcome_unknown"))
        elif issubclass(contract, Ask):
            yield 504, "outcome_unknown"


def _refusals(contract: Contract) -> Iterable[Code]:
    for code, status in refusals_of(contract).items():
        bare = issubclass(contract, Query) and not contract.model_fields
        if code == "validation_failed" and bare and contract.grant is not GrantScope.PROJECT:
            continue  # there is nothing that could be wrong
        yield status, code
