"""A service made for tests: its handlers do whatever a test wants to see survived."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

from pydantic import SecretStr

from signalbox_common import outbox
from signalbox_common.bus import Call, FactCall
from signalbox_common.contracts.auth import ProjectCreated
from signalbox_common.contracts.base import Ask, Command, GrantScope, Query, Reply
from signalbox_common.contracts.events import Event, ProgressEvent
from signalbox_common.contracts.roles import ProjectRole
from signalbox_common.contracts.streams import FACT_CONSUMERS, SERVICE_CALLS, FactConsumer, Topology
from signalbox_common.db import Transaction
from signalbox_common.errors import Conflict
from signalbox_common.outcomes import Checkpoint, Outcome, no_checkpoint
from signalbox_common.runtime import Service
from signalbox_common.settings import OwnerSettings


class Noted(Reply):
    id: str
    handled: int


class Note(Command[Noted]):
    subject = "cmd.tasks.v1.lab-note"
    grant = GrantScope.NONE

    text: str


class OtherNote(Command[Noted]):
    subject = "cmd.tasks.v1.lab-other-note"
    grant = GrantScope.NONE

    text: str


class Build(Command[Noted]):
    """Answered when its work is done."""

    subject = "cmd.tasks.v1.lab-build"
    grant = GrantScope.NONE
    target = "name"

    name: str


class Order(Command[Noted]):
    """The same in a project, for whom may work there."""

    subject = "cmd.tasks.v1.lab-order"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "name"

    name: str
    firm: bool = False
    """Whether it cannot be cancelled."""


class Jot(Command[Noted]):
    """In a project, and answered at once."""

    subject = "cmd.tasks.v1.lab-jot"
    grant = GrantScope.PROJECT
    least_role = ProjectRole.DEVELOPER
    target = "text"

    text: str


class Whisper(Ask[Noted]):
    subject = "ask.tasks.v1.lab-whisper"
    grant = GrantScope.NONE

    text: str
    secret: SecretStr


class Recall(Query[Noted]):
    subject = "qry.tasks.v1.lab-recall"
    grant = GrantScope.NONE


class Conflicting(Conflict):
    code = "lab_conflicting"
    detail = "It cannot be built."


class Logged(ProgressEvent):
    subject = "evt.*.tasks.lab.logged"

    text: str

    def joined(self, following: Self) -> Self:
        return self.model_copy(update={"text": self.text + following.text})


class Counted(ProgressEvent):
    subject = "evt.*.tasks.lab.counted"

    percent: int


class NoteTaken(Event):
    subject = "evt.*.tasks.lab.taken"

    text: str


ON_PROJECT = FactConsumer("catalog", "lab-project-created", ProjectCreated)
ON_NOTE = FactConsumer("catalog", "lab-note-taken", NoteTaken)
TOPOLOGY = Topology(facts=(*FACT_CONSUMERS, ON_PROJECT, ON_NOTE), calls=(*SERVICE_CALLS, ("catalog", Build)))


class LabSettings(OwnerSettings):
    service: str = "tasks"


async def succeed(_text: str) -> None:
    """What a healthy handler does."""


@dataclass
class Lab:
    """What the handlers of one lab service have seen, and what they do about it."""

    act: Callable[[str], Awaitable[None]] = succeed
    """Called inside the handler's transaction; may raise, wait or kill."""
    started: Counter[str] = field(default_factory=Counter)
    finished: list[str] = field(default_factory=list)
    """Handled to the end; what could not be committed then is handled once more."""
    facts: list[str] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    def service(self, settings: LabSettings, *, checkpoint: Checkpoint = no_checkpoint) -> Service:
        app = Service(settings, checkpoint=checkpoint)

        async def note(transaction: Transaction, text: str) -> Noted:
            self.started[text] += 1
            self.entered.set()
            await self.act(text)
            outbox.emit(transaction, settings.service, NoteTaken(text=text), project=None)
            self.finished.append(text)
            return Noted(id=text, handled=self.started[text])

        @app.bus.on_command(Note)
        async def on_note(call: Call, command: Note) -> Noted:
            return await note(call.transaction, command.text)

        @app.bus.on_command(OtherNote)
        async def on_other(call: Call, command: OtherNote) -> Noted:
            return await note(call.transaction, command.text)

        @app.bus.on_command(Jot)
        async def on_jot(call: Call, command: Jot) -> Noted:
            return await note(call.transaction, command.text)

        @app.bus.on_ask(Whisper, own_transaction=True)
        async def on_whisper(call: Call, ask: Whisper) -> Outcome[Noted]:
            return await call.once(lambda transaction: note(transaction, ask.text))

        @app.bus.on_query(Recall)
        async def on_recall(_call: Call, _query: Recall) -> Noted:
            return Noted(id="all", handled=len(self.finished))

        return app

    def reader(self, settings: LabSettings) -> Service:
        """A service that reads the facts of others, each once."""
        app = Service(settings)

        @app.bus.on_fact(ON_NOTE)
        async def on_note(_call: FactCall, event: NoteTaken) -> None:
            await self.act(event.text)
            self.facts.append(event.text)

        @app.bus.on_fact(ON_PROJECT)
        async def on_project(_call: FactCall, event: ProjectCreated) -> None:
            self.facts.append(str(event.id))

        return app
