"""The accounts of NATS: one for the streams, one for each program, one for each publisher outside.

Whatever the server itself sends goes wherever who asked wanted it, and nobody's permissions are looked at:
an answer of the stream, a message of a consumer. Between accounts it comes back only to the account of who
asked, and there are no streams there. What crosses from one account to another follows from the permissions.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from signalbox_cli.provision.permissions import of_user
from signalbox_common.bus.connection import STREAMS_API
from signalbox_common.contracts.streams import BY_PUBLISHERS, Topology
from signalbox_common.programs import OWNERS, PROGRAMS

STREAMS = "SIGNALBOX"
"""Where the streams, the administrator and the operator are."""
EARLIER_ACCOUNT = "$G"
"""Where the streams of installations before that are."""
_REPLIES = "reply.*.*"
_IN_STREAMS = frozenset({"cmd", "evt", "ext", "dlq", "rvk", "live", "$JS", "$KV", "$O"})
_ANSWERED_IN_PARTS = ("$JS.API.DIRECT.GET.", "$JS.API.CONSUMER.MSG.NEXT.")


@dataclass(frozen=True, order=True)
class Crossing:
    """A subject of one account that another one may use: to publish there, or to hear what is published."""

    exporter: str
    subject: str
    importer: str
    kind: Literal["service", "stream"]
    prefix: str | None = None
    local: str | None = None
    """What the importer calls it, if not the same."""

    @property
    def export(self) -> dict[str, object]:
        entry: dict[str, object] = {self.kind: self.subject}
        if self.subject.startswith(_ANSWERED_IN_PARTS):
            entry["response_type"] = "Stream"
        return entry

    @property
    def entry(self) -> dict[str, object]:
        entry: dict[str, object] = {self.kind: {"account": self.exporter, "subject": self.subject}}
        if self.prefix is not None:
            entry["prefix"] = self.prefix
        if self.local is not None:
            entry["to"] = self.local
        return entry


def account_of(user: str) -> str:
    return user.upper() if user in PROGRAMS else STREAMS


def account_of_publisher(name: str) -> str:
    """A service outside is told apart from others by the account that it comes from."""
    return f"OUTSIDE-{name}"


def crossings(topology: Topology, publishers: Mapping[str, str]) -> list[Crossing]:
    """All there are; each account exports nothing else, and to nobody else. Of publishers, the projects."""
    found = {
        Crossing(
            STREAMS,
            f"{BY_PUBLISHERS}.{name}.{project}.>",
            account_of_publisher(name),
            "service",
            local=f"ext.{project}.>",
        )
        for name, project in publishers.items()
    }
    for program in PROGRAMS:
        account, rights = account_of(program), of_user(program, topology)
        for subject in rights.publish or ():
            found |= set(_served(subject, account))
        for subject in rights.subscribe or ():
            if subject.partition(".")[0] in _IN_STREAMS:
                found.add(Crossing(STREAMS, subject, account, "stream"))
        if program in OWNERS:
            found |= {
                Crossing(account, _REPLIES, to, "stream", prefix=program)
                for to in (STREAMS, account_of("gateway"))
            }
            found |= {Crossing(account, f"{kind}.{program}.>", STREAMS, "service") for kind in ("ask", "qry")}
    return sorted(found)


def _served(subject: str, by: str) -> Iterator[Crossing]:
    """To whom it goes when an account publishes there; to nobody where it stays in the account."""
    first, _, rest = subject.partition(".")
    if first == STREAMS_API:
        yield Crossing(STREAMS, f"$JS.API.{rest}", by, "service", local=subject)
    elif first in _IN_STREAMS:
        yield Crossing(STREAMS, subject, by, "service")
    elif first in ("ask", "qry") and rest == ">":
        for owner in OWNERS:
            yield Crossing(account_of(owner), f"{first}.{owner}.>", by, "service")
    elif first in ("ask", "qry"):
        yield Crossing(account_of(rest.partition(".")[0]), subject, by, "service")


def exports(account: str, all_crossings: Iterable[Crossing]) -> list[dict[str, object]]:
    mine = [each for each in all_crossings if each.exporter == account]
    importers: dict[tuple[str, str], list[str]] = {}
    for each in mine:
        importers.setdefault((each.kind, each.subject), []).append(each.importer)
    return [
        each.export | {"accounts": importers[(each.kind, each.subject)]}
        for each in {(each.kind, each.subject): each for each in mine}.values()
    ]


def imports(account: str, all_crossings: Iterable[Crossing]) -> list[dict[str, object]]:
    return [each.entry for each in all_crossings if each.importer == account]
