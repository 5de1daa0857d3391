"""What one client follows, and what it got: each event once, in order, or a word that some are in pages."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx


def number(position: str) -> int:
    return int(position.rpartition(":")[2])


@dataclass(eq=False)
class Line:
    """Some projects, followed together through any number of connections."""

    name: str
    projects: tuple[str, ...]
    place: str | None = None
    begin: int = 0
    got: dict[int, str] = field(default_factory=dict)
    """The id of each event by its number."""
    told: int = 0
    """By the stream, and not by pages."""
    in_pages: int = 0
    resyncs: "Counter[str]" = field(default_factory=Counter)
    offences: list[str] = field(default_factory=list)
    _highest: int = 0
    _owed: list[tuple[str | None, str]] = field(default_factory=list)

    def begins(self, position: str) -> None:
        """Where the stream says that it goes on."""
        if self.place is None:
            self.place = position
            self.begin = self._highest = number(position)
        elif position != self.place:
            self.offences.append(f"was at {self.place}, and goes on at {position} without a word")

    def event(self, position: str, event_id: str) -> None:
        at = number(position)
        if at in self.got:
            self.offences.append(f"{at} was told twice")
        elif at <= self._highest:
            self.offences.append(f"{at} was told after {self._highest}")
        self._highest = max(at, self._highest)
        self.got[at] = event_id
        self.place = position
        self.told += 1

    def resync(self, said: dict[str, Any]) -> None:
        self.resyncs[said["reason"]] += 1
        self._owed.append((said["after"], said["at"]))
        self.place = said["at"]
        self._highest = max(self._highest, number(said["at"]))

    async def recover(self, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        """Asks for what was left out; what could not be asked stays owed."""
        while self._owed:
            after, at = self._owed[0]
            for project in self.projects:
                for item in await pages(client, headers, project, after):
                    found = number(item["position"])
                    if self.begin < found <= number(at) and found not in self.got:
                        self.got[found] = item["id"]
                        self.in_pages += 1
            self._owed.pop(0)

    @property
    def owes_nothing(self) -> bool:
        return not self._owed

    def missing(self, truth: dict[str, dict[int, str]]) -> list[str]:
        """What it should have and has not, or has and should not."""
        wanted = {n: each for p in self.projects for n, each in truth[p].items() if n > self.begin}
        if wanted == self.got:
            return []
        absent, foreign = sorted(wanted.keys() - self.got.keys()), sorted(self.got.keys() - wanted.keys())
        return [f"{self.name}: missed {absent[:5]} ({len(absent)}), was told {foreign[:5]} ({len(foreign)})"]


async def pages(
    client: httpx.AsyncClient, headers: dict[str, str], project: str, after: str | None
) -> list[dict[str, Any]]:
    """Everything of a project after a place, or all that is kept."""
    found: list[dict[str, Any]] = []
    while True:
        query = {"limit": 500} | ({"after": after} if after else {})
        answer = await client.get(f"/api/v1/projects/{project}/events", params=query, headers=headers)
        if answer.status_code == 410 and after is not None:
            after = None
            continue
        answer.raise_for_status()
        page = answer.json()
        found += page["items"]
        if not page["items"]:
            return found
        after = page["nextCursor"]
