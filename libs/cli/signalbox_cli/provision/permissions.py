"""What each NATS and Redis user may do, derived from the contracts."""

from dataclasses import dataclass, field
from typing import Any

from signalbox_common.bus.connection import STREAMS_API
from signalbox_common.bus.wakeups import look_subject
from signalbox_common.contracts.auth import ListKeys
from signalbox_common.contracts.base import Request, contracts_of
from signalbox_common.contracts.streams import (
    AUDIT_BUCKET,
    AUDIT_HEAD,
    BY_USERS,
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    EXTERNAL,
    GRANT_KEYS,
    INGEST,
    INGEST_LETTERS,
    KEY_BUCKET,
    PACKAGES,
    REVOCATIONS,
    REVOKING,
    Stream,
    Topology,
    letters_of,
)
from signalbox_common.programs import FANOUT, OWNERS, PROGRAMS

ADMIN, OPERATOR = "admin", "operator"
USERS = (ADMIN, OPERATOR, *PROGRAMS)
_TOLD_TO_ALL = (str(REVOKING.sends_to),)
"""What every program hears."""
_RESOURCES = f"{EVENTS.copies}.*.catalog.resource.*"
"""What the gateway hears of events as they are stored, to wake those who watch resources."""


@dataclass(frozen=True)
class Permissions:
    """Subjects that a NATS user may publish and subscribe to; None means all of them."""

    publish: list[str] | None
    subscribe: list[str] | None
    deny_publish: list[str] = field(default_factory=list)


def of_user(user: str, topology: Topology | None = None) -> Permissions:
    topology = topology or Topology()
    if user == ADMIN:
        return Permissions(None, None)
    if user == OPERATOR:
        return _operator()
    if user == "gateway":
        return _gateway()
    if user == FANOUT:
        return _fanout()
    if user in OWNERS:
        return _owner(user, topology)
    raise ValueError(f"{user} is no user of the bus")


def _operator() -> Permissions:
    """Looks at everything, hands dead letters over again, deletes nothing else."""
    api = "$JS.API"
    return Permissions(
        publish=[
            *_of_operators(),
            ListKeys.subject,
            "qry.*.v1.health",
            f"{api}.STREAM.INFO.*",
            f"{api}.STREAM.NAMES",
            f"{api}.STREAM.LIST",
            f"{api}.CONSUMER.INFO.*.*",
            f"{api}.CONSUMER.LIST.*",
            f"{api}.STREAM.MSG.GET.*",
            f"{api}.DIRECT.GET.>",
            f"{api}.STREAM.MSG.DELETE.{DEAD_LETTERS.name}",
            *(f"{api}.STREAM.MSG.DELETE.{letters_of(owner).name}" for owner in OWNERS),
            f"{api}.CONSUMER.CREATE.{EVENTS.name}",  # of clients that name no consumer
            f"{api}.CONSUMER.CREATE.{EVENTS.name}.>",
            f"{api}.CONSUMER.MSG.NEXT.{EVENTS.name}.*",
            f"{api}.CONSUMER.DELETE.{EVENTS.name}.*",
            "$JS.FC.>",
        ],
        subscribe=["evt.>", "dlq.>", "*.reply.*.*", "reply.*.*", "_INBOX.operator.>"],
    )


def _gateway() -> Permissions:
    return Permissions(
        publish=[
            "cmd.>",
            "ask.>",
            "qry.>",
            f"{BY_USERS}.>",
            *_checking_tokens(),
            *_files(PACKAGES),
            *_reading(EVENTS),
        ],
        subscribe=["*.reply.*.*", "reply.*.*", "_INBOX.gateway.>", _RESOURCES, *_TOLD_TO_ALL],
        deny_publish=[*_of_operators(), *_of_services()],
    )


def _fanout() -> Permissions:
    """Follows all events, and takes in those of others."""
    return Permissions(
        publish=[
            *_reading(EVENTS),
            *_reading(REVOCATIONS),
            *_consumer(INGEST.stream, INGEST.name),
            f"{STREAMS_API}.STREAM.INFO.{EXTERNAL.name}",
            "evt.*.ext.>",
            f"{INGEST_LETTERS}.>",
        ],
        subscribe=[f"_INBOX.{FANOUT}.>", f"{EVENTS.copies}.>", *_TOLD_TO_ALL],
    )


def of_publisher(project: str, inbox: str) -> Permissions:
    """A service outside: what happened in its project, and nothing else."""
    return Permissions(publish=[f"ext.{project}.>"], subscribe=[f"{inbox}.>"])


def _reading(stream: Stream) -> list[str]:
    """Whole pages of a stream, without a consumer."""
    return [f"{STREAMS_API}.STREAM.INFO.{stream.name}", f"$JS.API.DIRECT.GET.{stream.name}"]


def _of_operators() -> list[str]:
    """What only an operator may ask for."""
    return [contract.subject for contract in contracts_of(Request) if contract.operator]


def _of_services() -> list[str]:
    """What only one service may ask for."""
    return [contract.subject for contract in contracts_of(Request) if contract.caller is not None]


def _checking_tokens() -> list[str]:
    """Everybody reads the public keys, and follows what was revoked."""
    return [
        f"$JS.API.DIRECT.GET.{GRANT_KEYS.name}",
        *_reading(REVOCATIONS),
    ]


def _owner(service: str, topology: Topology) -> Permissions:
    publish = [
        "reply.*.*",
        f"evt.*.{service}.>",
        f"dlq.cmd.{service}.>",
        look_subject(service, "*"),
        *_checking_tokens(),
        *(
            subject
            for caller, contract in topology.calls
            if caller == service
            for subject in _subjects(contract, service)
        ),
    ]
    for subject in topology.commands:
        if subject.split(".")[1] == service:
            publish += _consumer(COMMANDS.name, subject.removeprefix("cmd.").replace(".", "-"))
    for fact in topology.facts:
        if fact.service == service:
            publish += [*_consumer(EVENTS.name, fact.name), f"dlq.{fact.name}.>"]
    publish += _reading(letters_of(service))
    if service == "auth":
        publish += [f"$KV.{KEY_BUCKET}.>", "rvk.*.auth.>"]
        publish += [f"$KV.{AUDIT_BUCKET}.>", f"$JS.API.DIRECT.GET.{AUDIT_HEAD.name}"]
    if service == "catalog":
        publish += _files(PACKAGES)
    return Permissions(
        publish=publish,
        subscribe=[
            f"_INBOX.{service}.>",
            f"ask.{service}.>",
            f"qry.{service}.>",
            look_subject(service, "*"),
            *_TOLD_TO_ALL,
        ],
    )


def _subjects(contract: type[Request[Any]], caller: str) -> list[str]:
    """What every owner answers is asked of each of the others."""
    if "*" not in contract.subject:
        return [contract.subject]
    return [contract.subject_for(owner) for owner in OWNERS if owner != caller]


def _files(bucket: Stream) -> list[str]:
    """Putting files into a bucket, reading them, and taking away also what was put there in part."""
    return [
        *bucket.subjects,
        f"$JS.API.DIRECT.GET.{bucket.name}",
        f"{STREAMS_API}.STREAM.PURGE.{bucket.name}",
    ]


def _consumer(stream: str, name: str) -> list[str]:
    return [
        f"{STREAMS_API}.CONSUMER.INFO.{stream}.{name}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
        f"$JS.ACK.{stream}.{name}.>",
    ]


_COMMANDS = ("+@all", "-@admin", "-@dangerous", "+info")


def redis_rules(user: str) -> list[str]:
    """The ACL of a Redis user: the gateway serves live streams, the others keep to their own names."""
    if user in {ADMIN, OPERATOR}:
        return ["~*", "&*", "+@all"]
    if user == "gateway":
        return ["~*", "&*", *_COMMANDS, "-@scripting", "+eval", "+evalsha"]  # rates are counted by a script
    if user == FANOUT:
        return ["~live:*", "~quota:*", "&progress:*", *_COMMANDS]  # written by scripts
    return [f"~{user}:*", f"&{user}:*", *_COMMANDS, "-@scripting"]
