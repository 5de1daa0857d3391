"""Holds owners to what their contracts declare: clients are told no code that the API does not document."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from signalbox_common import telemetry
from signalbox_common.contracts.base import Request
from signalbox_common.contracts.refusals import refusals_of
from signalbox_common.errors import SignalboxError

log = telemetry.get_logger()

UNDECLARED: set[str] = set()
"""What owners have answered without having declared it; a test that leaves anything here fails."""


@contextmanager
def declared_by(contract: type[Request[Any]]) -> Iterator[None]:
    """Notes a final error that the contract does not declare; its asker is told all the same."""
    try:
        yield
    except SignalboxError as error:
        if error.final and refusals_of(contract).get(error.code) != error.status:
            what = f"{contract.__name__}: {error.code} ({error.status})"
            if what not in UNDECLARED:
                log.warning("answered with what its contract does not declare", refusal=what)
            UNDECLARED.add(what)
        raise
