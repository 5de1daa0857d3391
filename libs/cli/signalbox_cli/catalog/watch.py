"""Following what changes, across streams that end and connections that break."""

import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import httpx

from signalbox_cli.catalog.api import Catalog
from signalbox_cli.client import TIMEOUT
from signalbox_common.contracts.catalog import ChangeType, KindEntry, Resource, WatchedChange
from signalbox_common.errors import SignalboxError

SILENCE = 45.0
"""Seconds without a word after which a connection is given up; the server says something every fifteen."""
PAUSE, LONGEST_PAUSE = 0.5, 15.0
EXPIRED = 410


@dataclass(frozen=True)
class Event:
    """A server-sent event."""

    data: str
    id: str | None = None


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """What has come as a whole; only the ends of lines that the server writes count as such."""
    rest = b""
    data: list[str] = []
    number: str | None = None
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            name, _, value = line.decode().removesuffix("\r").partition(":")
            if name == "data":
                data.append(value.removeprefix(" "))
            elif name == "id":
                number = value.removeprefix(" ")
            elif not name and not value:
                if data:
                    yield Event("\n".join(data), number)
                data, number = [], None


class Watch:
    """The resources of one kind in one namespace: first those that there are, then every change, once."""

    def __init__(
        self,
        catalog: Catalog,
        kind: KindEntry,
        *,
        selector: str | None = None,
        note: Callable[[str], None] = lambda _words: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._catalog = catalog
        self._kind = kind
        self._selector = selector
        self._note = note
        self._sleep = sleep
        self._last: str | None = None
        self._known: dict[uuid.UUID, Resource] = {}

    def __iter__(self) -> Iterator[WatchedChange]:
        """Raises what is refused, and what goes wrong before the first word of the server."""
        pause, begun = PAUSE, False
        while True:
            try:
                for change in self._connected():
                    begun, pause = True, PAUSE
                    if change is not None:
                        yield change
            except httpx.TransportError as error:
                if not begun:
                    raise
                self._note(f"the connection broke ({error or type(error).__name__}): trying again")
            except SignalboxError as error:
                if error.status == EXPIRED and self._last is not None:
                    self._last = None  # too far behind: what there is now tells the difference
                elif error.final or not begun:
                    raise
                else:
                    self._note(f"{error.detail} Trying again.")
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _connected(self) -> Iterator[WatchedChange | None]:
        """None where the server has only said how far it is."""
        with self._catalog.http.stream(
            "GET",
            f"/api/v1/kinds/{self._kind.plural}",
            params=self._catalog.params(watch=True, labelSelector=self._selector),
            headers={"Last-Event-ID": self._last} if self._last is not None else {},
            timeout=httpx.Timeout(TIMEOUT, read=SILENCE),
        ) as answer:
            present: set[uuid.UUID] | None = set() if self._last is None else None
            for event in events(answer.iter_bytes()):
                said = json.loads(event.data)
                if said["type"] == ChangeType.BOOKMARK:
                    if present is not None:
                        yield from self._gone_but_for(present)
                        present = None
                    yield None
                else:
                    change = WatchedChange.model_validate(said)
                    if present is not None and event.id is None:
                        present.add(change.object.metadata.uid)
                        yield self._there(change.object)
                    else:
                        self._keep(change)
                        yield change
                self._last = event.id or self._last

    def _there(self, resource: Resource) -> WatchedChange | None:
        """Of what there is, what was not known yet."""
        before = self._known.get(resource.metadata.uid)
        self._known[resource.metadata.uid] = resource
        if before is None:
            return WatchedChange(type=ChangeType.ADDED, object=resource)
        if before.metadata.resource_version != resource.metadata.resource_version:
            return WatchedChange(type=ChangeType.MODIFIED, object=resource)
        return None

    def _gone_but_for(self, present: set[uuid.UUID]) -> Iterator[WatchedChange]:
        for uid in self._known.keys() - present:
            yield WatchedChange(type=ChangeType.DELETED, object=self._known.pop(uid))

    def _keep(self, change: WatchedChange) -> None:
        if change.type is ChangeType.DELETED:
            self._known.pop(change.object.metadata.uid, None)
        else:
            self._known[change.object.metadata.uid] = change.object


def merged(watches: Sequence[Iterable[WatchedChange]]) -> Iterator[WatchedChange]:
    """Of all of them, as they come; ends with the first that fails, in its words."""
    if len(watches) == 1:
        yield from watches[0]
        return
    came: queue.SimpleQueue[WatchedChange | Exception] = queue.SimpleQueue()

    def follow(watch: Iterable[WatchedChange]) -> None:
        try:
            for change in watch:
                came.put(change)
        except Exception as error:  # noqa: BLE001 - whoever waits raises it
            came.put(error)

    for watch in watches:
        threading.Thread(target=follow, args=(watch,), daemon=True).start()
    while True:
        change = came.get()
        if isinstance(change, Exception):
            raise change
        yield change
