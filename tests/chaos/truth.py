"""What is true afterwards, read past every service."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from nats.js.errors import NotFoundError

from signalbox_cli import deadletters
from signalbox_cli.operator import Operator
from signalbox_common.contracts.streams import EVENTS
from tests.chaos.stack import Stack

CREATED = "evt.*.auth.project.created"
ALARM = "the stream called a new event a duplicate"


@dataclass(frozen=True)
class Truth:
    """Read from the database, the streams and the supervisor, past every service."""

    projects: set[str]
    inbox: Counter[str]
    events: Counter[str]
    """project.created by ce-id."""
    announced: Counter[str]
    """project.created by project."""
    audited: Counter[str]
    """Lines of the audit log about projects that were made, by project."""
    letters: list[dict[str, Any]]
    restarts: dict[str, int]
    alarms: int
    supervisor: int

    @property
    def duplicates(self) -> int:
        return sum(self.events.values()) - len(self.events)

    @staticmethod
    async def read(running: Stack) -> "Truth":
        operator = Operator(running.home)
        async with operator.database() as database:
            made = await database.fetch("select id, personal_of is null as ordered from auth.projects")
            projects = {str(row["id"]) for row in made if row["ordered"]}
            personal = {str(row["id"]) for row in made if not row["ordered"]}
            rows = await database.fetch(
                "select status, count(*) from auth.inbox where subject like 'cmd.%' group by status"
            )
            lines = await database.fetch(
                "select resource from auth.audit where action = 'auth.create-project' "
                "and outcome = 'succeeded'"
            )
        async with operator.nats() as client:
            letters = [letter.summary() async for letter in deadletters.read_all(client)]
            events, announced = await _created(client, personal)
        return Truth(
            projects=projects,
            inbox=Counter({row["status"]: row["count"] for row in rows}),
            events=events,
            audited=Counter(row["resource"] for row in lines),
            announced=announced,
            letters=letters,
            restarts={name: row["restarts"] for name, row in running.programs().items()},
            alarms=running.logged(ALARM),
            supervisor=int(running.state()["pid"]),
        )


async def _created(client: Any, personal: set[str]) -> tuple[Counter[str], Counter[str]]:
    """Every project.created of the stream, one by one, so that nothing is counted for us.

    Personal projects come with their people, without a command; they are left out.
    """
    jetstream = client.jetstream(timeout=5)
    events: Counter[str] = Counter()
    announced: Counter[str] = Counter()
    sequence = 1
    while True:
        try:
            message = await jetstream.get_msg(EVENTS.name, sequence, subject=CREATED, direct=True, next=True)
        except NotFoundError:
            return events, announced
        sequence = message.seq + 1
        project = json.loads(message.data)["id"]
        if project not in personal:
            events[message.headers["ce-id"]] += 1
            announced[project] += 1
