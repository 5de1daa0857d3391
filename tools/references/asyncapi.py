"""AsyncAPI of every service: the messages that it receives and sends."""

from typing import Any

from signalbox_common import __version__, contracts
from signalbox_common.contracts.base import PLATFORM, REGISTRY, Ask, Command, Message, Query, Request
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.streams import COMMANDS, EVENTS
from signalbox_common.programs import OWNERS

_KINDS = {
    Command: f"Durable: stored in {COMMANDS.name} until it is handled, answered on a reply subject.",
    Ask: "Core request/reply: carries a secret and is never stored.",
    Query: "Core request/reply: changes nothing.",
}


def asyncapi(service: str) -> dict[str, Any]:
    """AsyncAPI 3.0 of one service: what it receives and what it sends."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for contract in _ours():
        if issubclass(contract, Request) and _serves(service, contract):
            _add_request(service, contract, channels, operations, schemas)
        elif issubclass(contract, Event) and service in OWNERS and contract.service() in (service, "*"):
            _add_event(service, contract, channels, operations, schemas)
    if service == "gateway":
        for contract in _ours():
            if issubclass(contract, Request) and "*" not in contract.subject:
                _add_request(service, contract, channels, operations, schemas, action="send")
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"Signalbox {service}", "version": __version__},
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "localhost:4222", "protocol": "nats"}},
        "channels": channels,
        "operations": operations,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _ours() -> list[type[Message]]:
    """The contracts of this product, in the order of their subjects; others may have registered theirs."""
    return [
        REGISTRY[subject]
        for subject in sorted(REGISTRY)
        if REGISTRY[subject].__module__.startswith(contracts.__name__)
    ]


def _serves(service: str, contract: type[Request[Any]]) -> bool:
    return service in OWNERS and contract.owner() in (service, "*")


def _add_request(
    service: str,
    contract: type[Request[Any]],
    channels: dict[str, Any],
    operations: dict[str, Any],
    schemas: dict[str, Any],
    action: str = "receive",
) -> None:
    name, reply = contract.__name__, contract.reply.__name__
    subject = contract.subject_for(service) if "*" in contract.subject else contract.subject
    what = next(text for kind, text in _KINDS.items() if issubclass(contract, kind))
    _add_schema(contract, schemas)
    _add_schema(contract.reply, schemas)
    channels[name] = {
        "address": subject,
        "description": what,
        "messages": {name: _message(contract), reply: _message(contract.reply)},
    }
    operations[name] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": (contract.__doc__ or "").strip().splitlines()[0] if contract.__doc__ else name,
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "reply": {
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{reply}"}],
        },
    }


def _add_event(
    service: str,
    contract: type[Event],
    channels: dict[str, Any],
    operations: dict[str, Any],
    schemas: dict[str, Any],
) -> None:
    name = contract.__name__
    _add_schema(contract, schemas)
    channels[name] = {
        "address": contract.subject_in(None, service).replace(f".{PLATFORM}.", ".{project}.", 1),
        "description": f"A CloudEvent of type {contract.type(service)}, kept in {EVENTS.name}.",
        "parameters": {"project": {"description": "The project's id, or `_` for the platform."}},
        "messages": {name: _message(contract)},
    }
    operations[name] = {
        "action": "send",
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
    }


def _message(contract: type[Message]) -> dict[str, Any]:
    return {"name": contract.__name__, "payload": {"$ref": f"#/components/schemas/{contract.__name__}"}}


def _add_schema(contract: type[Message], schemas: dict[str, Any]) -> None:
    schema = contract.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= schema.pop("$defs", {})
    schemas[contract.__name__] = schema
