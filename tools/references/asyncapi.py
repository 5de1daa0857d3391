"""AsyncAPI of every service: the messages that it receives and sends, and who may send them."""

from typing import Any

from signalbox_common import __version__
from signalbox_common.contracts.base import PLATFORM, Ask, Command, GrantScope, Message, Query, Request
from signalbox_common.contracts.events import Event
from signalbox_common.contracts.streams import COMMANDS, EVENTS
from signalbox_common.programs import OWNERS
from tools.references.schemas import FILE, ours

Document = dict[str, Any]

_KINDS = {
    Command: f"Durable: stored in {COMMANDS.name} until it is handled, answered on a reply subject.",
    Ask: "Core request/reply: carries a secret and is never stored.",
    Query: "Core request/reply: changes nothing.",
}


def asyncapi(service: str) -> Document:
    """AsyncAPI 3.0 of one service."""
    channels: Document = {}
    operations: Document = {}
    for contract in ours():
        name = contract.__name__
        if issubclass(contract, Request) and service in OWNERS and contract.owner() in (service, "*"):
            channels[name] = _request(service, contract)
            operations[name] = _operation("receive", contract)
        elif issubclass(contract, Request) and service == "gateway" and _sent_by_gateway(contract):
            channels[name] = {"$ref": f"{contract.owner()}.json#/channels/{name}"}
            operations[name] = {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
        elif issubclass(contract, Event) and service in OWNERS and contract.service() in (service, "*"):
            channels[name] = _event(service, contract)
            operations[name] = _operation("send", contract)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": f"Signalbox {service}", "version": __version__},
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "localhost:4222", "protocol": "nats"}},
        "channels": channels,
        "operations": operations,
    }


def _sent_by_gateway(contract: type[Request[Any]]) -> bool:
    """Not what operators or one service alone may send; and what every owner answers stands with each."""
    return contract.owner() != "*" and not contract.operator and contract.caller is None


def _request(service: str, contract: type[Request[Any]]) -> Document:
    what = next(text for kind, text in _KINDS.items() if issubclass(contract, kind))
    return {
        "address": contract.subject_for(service),
        "description": what,
        "messages": {each.__name__: _message(each) for each in (contract, contract.reply)},
        "x-needs": _needs(contract),
        "x-refusals": dict(contract.refusals),
    }


def _needs(contract: type[Request[Any]]) -> Document:
    """What whoever asks has to bring along."""
    needs: Document = {"grant": str(contract.grant)}
    if contract.grant is GrantScope.PROJECT:
        needs["role"] = str(contract.least_role)
    if contract.grant is not GrantScope.NONE:
        needs["scope"] = contract.scope() or "that of what it is about"
    return needs | {name: True for name in ("admin", "in_person", "operator") if getattr(contract, name)}


def _event(service: str, contract: type[Event]) -> Document:
    return {
        "address": contract.subject_in(None, service).replace(f".{PLATFORM}.", ".{project}.", 1),
        "description": f"A CloudEvent of type {contract.type(service)}, kept in {EVENTS.name}.",
        "parameters": {"project": {"description": "The project's id, or `_` for the platform."}},
        "messages": {contract.__name__: _message(contract)},
        "x-dataschema": contract.schema_uri(service),
    }


def _operation(action: str, contract: type[Message]) -> Document:
    channel = f"#/channels/{contract.__name__}"
    operation: Document = {"action": action, "channel": {"$ref": channel}}
    operation["messages"] = [{"$ref": f"{channel}/messages/{contract.__name__}"}]
    if issubclass(contract, Request):
        reply = {"$ref": f"{channel}/messages/{contract.reply.__name__}"}
        operation["reply"] = {"channel": {"$ref": channel}, "messages": [reply]}
    return operation


def _message(contract: type[Message]) -> Document:
    return {"payload": {"$ref": f"../{FILE}#/$defs/{contract.__name__}"}}
