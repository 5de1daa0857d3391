"""What a request may be refused with: what its contract declares, and what its kind and grant bring along."""

from collections.abc import Mapping
from typing import Any

from signalbox_common.contracts.base import Ask, Command, GrantScope, Query, Request

GRANTED = {
    "unauthenticated": 401,
    "token_expired": 401,
    "key_retired": 401,
    "grant_revoked": 401,
    "forbidden": 403,
    "insufficient_scope": 403,
    "not_delegated": 403,
}
"""Where a grant is needed, from the checks that the bus makes before any handler runs."""
_IN_PROJECT = {"role_too_low": 403, "project_not_found": 404}


def refusals_of(contract: type[Request[Any]]) -> Mapping[str, int]:
    """Every final error that its owner may answer, by code, with its status."""
    found = {"validation_failed": 422}
    if contract.grant is not GrantScope.NONE:
        found |= GRANTED
    if contract.grant is GrantScope.PROJECT:
        found |= _IN_PROJECT
    if contract.in_person:
        found["session_required"] = 403
    if contract.caller is not None:
        found["reserved"] = 403
    if contract.admin:
        found["admin_required"] = 403
    if not issubclass(contract, Query):
        found["too_large"] = 422  # of an event, or of a secret
        found["body_too_large"] = 413  # of the message, whose JSON may be longer than what came in
    if is_remembered(contract):
        found["idempotency_key_reused"] = 422
        if issubclass(contract, Ask):
            found["already_done"] = 409
    return {**found, **contract.refusals}


def is_remembered(contract: type[Request[Any]]) -> bool:
    """Whether a repeat under the same `Idempotency-Key` is harmless."""
    return issubclass(contract, Command) or (issubclass(contract, Ask) and contract.once)
