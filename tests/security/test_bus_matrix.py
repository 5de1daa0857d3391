"""Every program's credential on every subject: what it may publish arrives, and nothing else does.

The subjects follow from the contracts and the streams, so whatever is added to them is tried as well. An
import or an export that is missing shows, and one that is too many.
"""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from nats.aio.msg import Msg

from signalbox_cli.provision.accounts import account_of
from signalbox_cli.provision.permissions import ADMIN, of_user
from signalbox_common.bus.wakeups import ALL, look_subject
from signalbox_common.contracts.base import Request, contracts_of
from signalbox_common.contracts.streams import (
    BY_PUBLISHERS,
    BY_USERS,
    INGEST,
    INGEST_LETTERS,
    STREAMS,
    letters_of,
)
from signalbox_common.programs import FANOUT, OWNERS, PROGRAMS
from signalbox_common.testing import eventually
from tests.support.installation import Installation, matches
from tests.support.lab import TOPOLOGY

pytestmark = pytest.mark.fresh  # what may be published is stored, purged and acknowledged

PROJECT = "0192f1a0-0000-7000-8000-000000000000"


def subjects() -> list[str]:
    found = set[str]()
    for contract in contracts_of(Request):
        found |= (
            {contract.subject.replace("*", owner) for owner in OWNERS}
            if "*" in contract.subject
            else {contract.subject}
        )
    for owner in OWNERS:
        found |= {f"evt.{PROJECT}.{owner}.thing.done", f"evt._.{owner}.thing.done", f"rvk._.{owner}.x.y"}
        found |= {f"dlq.cmd.{owner}.v1.x", f"ask.{owner}.v1.unknown", f"qry.{owner}.v1.unknown"}
        found |= {look_subject(owner, ALL), look_subject(owner, "abcdef123456")}
    found |= {f"dlq.{fact.name}.x" for fact in TOPOLOGY.facts}
    found |= {f"evt.{PROJECT}.ext.thing.done", f"{INGEST_LETTERS}.x", "reply.abc.def"}
    found |= {f"{by}.x.{PROJECT}.thing.done" for by in (BY_PUBLISHERS, BY_USERS)}
    found |= {f"_INBOX.{program}.x" for program in PROGRAMS}
    for stream in (*STREAMS, *(letters_of(owner) for owner in OWNERS)):
        found |= {each.replace("*", "x").replace(">", "x.y.z.w") for each in stream.subjects}
        found |= {f"live.{each.replace('*', 'x').replace('>', 'x.y.z.w')}" for each in stream.subjects}
        for what in ("INFO", "PURGE", "DELETE", "UPDATE", "MSG.GET", "MSG.DELETE"):
            found |= {f"$JS.API.STREAM.{what}.{stream.name}", f"streams.STREAM.{what}.{stream.name}"}
        found |= {f"$JS.API.DIRECT.GET.{stream.name}", f"$JS.API.DIRECT.GET.{stream.name}.evt.x.y"}
    for consumer in TOPOLOGY.consumers():
        of = f"{consumer.stream}.{consumer.name}"
        found |= {f"$JS.API.CONSUMER.{what}.{of}" for what in ("MSG.NEXT", "INFO", "DELETE", "CREATE")}
        found |= {f"streams.CONSUMER.{what}.{of}" for what in ("INFO", "DELETE", "CREATE")}
        found.add(f"$JS.ACK.{of}.1.2.3.4.5")
    return sorted(found)


def may(program: str, subject: str) -> bool:
    """By its permissions."""
    rights = of_user(program, TOPOLOGY)
    allowed = any(matches(pattern, subject) for pattern in rights.publish or ())
    return allowed and not any(matches(pattern, subject) for pattern in rights.deny_publish)


def should(program: str, subject: str) -> bool:
    """By whose it is, said once more without looking at the permissions."""
    kind, _, rest = subject.partition(".")
    words = rest.split(".")
    of_operators = any(each.operator and matches(each.subject, subject) for each in contracts_of(Request))
    of_services = any(each.caller and each.subject == subject for each in contracts_of(Request))
    match kind:
        case "cmd" | "ask" | "qry":
            asked_by_gateway = program == "gateway" and not of_operators and not of_services
            return asked_by_gateway or any(
                program == caller != words[0] and matches(each.subject, subject)
                for caller, each in TOPOLOGY.calls
            )
        case "evt":
            return program == (FANOUT if words[1] == "ext" else words[1])
        case "rvk":
            return program == words[1] == "auth"
        case "dlq":
            readers = {fact.name: fact.service for fact in TOPOLOGY.facts} | {INGEST.name: FANOUT}
            return program == (words[1] if words[0] == "cmd" else readers.get(words[0]))
        case "ext":
            return program == "gateway" and words[0] == "users"
        case "reply":
            return program in OWNERS
        case "node":
            return program == words[0]
        case "$KV":
            return program == "auth"
        case "$O":
            return program in ("gateway", "catalog")
        case "$JS" | "streams":
            return may(program, subject) and not {"CREATE", "UPDATE", "DELETE", "MSG.GET"} & set(words)
        case _:
            return False


def heard_by(program: str) -> Iterator[str]:
    yield ">" if program == ADMIN else f"_INBOX.{program}.>"
    if program in OWNERS:
        yield from (f"ask.{program}.>", f"qry.{program}.>", look_subject(program, "*"))
    if program == "gateway":
        yield from ("*.reply.*.*", "reply.*.*")


@asynccontextmanager
async def listening(installation: Installation, heard: set[str]) -> AsyncIterator[None]:
    """Whoever could be meant: the account of the streams, and each program where it listens."""

    async def hear(message: Msg) -> None:
        heard.add(message.data.decode(errors="replace"))

    async with AsyncExitStack() as stack:
        clients = []
        for user in (ADMIN, *PROGRAMS):
            client = await stack.enter_async_context(installation.nats(user))
            for subject in heard_by(user):
                await client.subscribe(subject, cb=hear)
            await client.flush()
            clients.append(client)
        yield
        for client in clients:
            await client.drain()


@pytest.mark.parametrize("program", PROGRAMS)
async def test_what_may_be_published_arrives_and_nothing_else(
    installation: Installation, program: str
) -> None:
    heard: set[str] = set()
    run = uuid.uuid4().hex[:8]
    tried = {subject: f"{run} {subject}" for subject in subjects()}
    assert not [each for each in tried if may(program, each) != should(program, each)]
    expected = {body for subject, body in tried.items() if should(program, subject)}
    async with listening(installation, heard), installation.nats(program) as client:
        for subject, body in tried.items():
            await client.publish(subject, body.encode())
        await client.flush()

        async def all_there() -> bool:
            return expected <= heard

        try:
            await eventually(all_there)
        except AssertionError:
            pytest.fail(f"{program} may publish, and nobody hears: {sorted(expected - heard)}")
    ours = {body for body in heard if body.startswith(run)}
    assert not sorted(ours - expected), f"{program}, in the account {account_of(program)}"
