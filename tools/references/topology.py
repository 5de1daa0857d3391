"""The streams and consumers of the bus."""

from dataclasses import fields
from typing import Any

from signalbox_common.contracts.base import Command
from signalbox_common.contracts.streams import Consumer, Stream, Topology
from signalbox_common.programs import OWNERS
from tools.references.schemas import ours


def topology() -> dict[str, Any]:
    """By name; what is as usual is left out."""
    commands = (contract for contract in ours() if issubclass(contract, Command))
    subjects = sorted(
        contract.subject_for(owner)
        for contract in commands
        for owner in (OWNERS if contract.owner() == "*" else (None,))
    )
    found = Topology(commands=tuple(subjects))
    return {
        "streams": {stream.name: _unusual(stream) for stream in found.streams},
        "consumers": {consumer.name: _unusual(consumer) for consumer in found.consumers()},
    }


def _unusual(thing: Stream | Consumer) -> dict[str, Any]:
    return {
        each.name: value
        for each in fields(thing)
        if each.name != "name" and (value := getattr(thing, each.name)) != each.default
    }
