"""What every route stands on: who asks, where, and what is sent on their behalf."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request
from starlette.responses import Response

from signalbox_common.bus import Answer
from signalbox_common.contracts import base
from signalbox_common.contracts.auth import Grant, Namespace
from signalbox_common.contracts.base import Ask, Command, Reply
from signalbox_common.errors import SignalboxError
from signalbox_gateway.clients import Clients
from signalbox_gateway.identity import Asker, CurrentAsker

R = TypeVar("R", bound=Reply)

HOME = "default"


async def _clients(request: Request) -> Clients:
    clients: Clients = request.app.state.clients
    return clients


ClientsHere = Annotated[Clients, Depends(_clients)]


@dataclass(frozen=True)
class Sender:
    """Sends messages to their owners for whoever asks, about the place that the address names."""

    request: Request
    clients: Clients
    asker: Asker | None = None
    place: uuid.UUID | str | None = None
    """A project by its id or by its namespace; none where the person alone counts."""

    async def send(self, message: Command[Any] | Ask[Any] | base.Query[Any]) -> Response:
        """Sends it and answers what its owner answers, with the status that the route has for it."""
        status: int = self.request.scope["route"].status_code
        if not isinstance(message, Command):
            return passed_on(await self.answer(message), status)
        asker = self.someone
        project = await self._project(type(message), self.place)
        return await self.clients.command(self.request, asker, message, status=status, project=project)

    async def answer(
        self, message: Ask[R] | base.Query[R], *, place: uuid.UUID | str | None = None
    ) -> Answer[R]:
        """The answer, for those who look inside; `place` where the body names another one."""
        project = await self._project(type(message), place or self.place)
        if isinstance(message, Ask):
            return await self.clients.ask(self.request, message, self.asker, project=project)
        return await self.clients.query(self.asker, message, project=project)

    async def done(self, command: Command[R], *, key: str | None = None) -> R:
        """What a command is answered that is but a part of what is asked for; under a key, once."""
        project = await self._project(type(command), self.place)
        answer = await self.clients.answered(self.request, self.someone, command, project=project, key=key)
        return answer.value()

    async def part(self, ask: Ask[R], part: str) -> R:
        """What is asked beside a command to the same service, under an id of its own."""
        project = await self._project(type(ask), self.place)
        answer = await self.clients.ask(self.request, ask, self.asker, project=project, part=f"#{part}")
        return answer.value()

    async def value(self, message: Ask[R] | base.Query[R]) -> R:
        return (await self.answer(message)).value()

    async def grant(self, contract: type[base.Request[Any]]) -> Grant:
        """What the asker is there, before anything is sent."""
        purpose = None if issubclass(contract, base.Query) else contract.verb()
        grants = self.clients.identity
        return await grants.grant(self.someone, contract.owner(), self.place, purpose=purpose)

    async def _project(
        self, contract: type[base.Request[Any]], place: uuid.UUID | str | None
    ) -> uuid.UUID | None:
        if contract not in self.request.scope["route"].sends:
            raise RuntimeError(f"the route does not say that it sends {contract.__name__}")
        if isinstance(place, str):
            place = await self.clients.place(self.someone, contract.owner(), place, contract)
        self.request.state.project = str(place) if place is not None else None
        return place

    @property
    def someone(self) -> Asker:
        """Who asks, where the route is not open to everybody."""
        if self.asker is None:
            raise RuntimeError("this route is open to everybody: nobody is known to ask")
        return self.asker


async def _anybody(request: Request, clients: ClientsHere) -> Sender:
    return Sender(request, clients)


async def _here(request: Request, clients: ClientsHere, asker: CurrentAsker) -> Sender:
    return Sender(request, clients, asker)


async def _in_project(
    request: Request, clients: ClientsHere, asker: CurrentAsker, project_id: uuid.UUID
) -> Sender:
    return Sender(request, clients, asker, project_id)


NamespaceHere = Annotated[
    Namespace, Query(description="The slug of a project; `default` is the asker's personal one.")
]


async def _in_namespace(
    request: Request, clients: ClientsHere, asker: CurrentAsker, namespace: NamespaceHere = HOME
) -> Sender:
    return Sender(request, clients, asker, namespace)


Anybody = Annotated[Sender, Depends(_anybody)]
"""For routes that need no token."""
Here = Annotated[Sender, Depends(_here)]
"""For whoever is signed in."""
InProject = Annotated[Sender, Depends(_in_project)]
"""Below `/projects/{project_id}`."""
InNamespace = Annotated[Sender, Depends(_in_namespace)]
"""In the project that `?namespace=` names."""


def in_project_of(
    service: str, name: str, find: Callable[[uuid.UUID], base.Query[Any]], not_found: type[SignalboxError]
) -> Any:
    """In the project of what the address calls so; others' are answered like those that are not there."""

    async def at(request: Request, clients: ClientsHere, asker: CurrentAsker) -> Sender:
        try:
            thing = uuid.UUID(request.path_params[name])
        except ValueError:
            raise not_found from None
        project = await clients.project_of(find(thing))
        sends = request.scope["route"].sends
        purpose = None if not sends or issubclass(sends[0], base.Query) else sends[0].verb()
        try:
            await clients.identity.grant(asker, service, project, purpose=purpose)
        except SignalboxError as error:
            if error.status == 404:
                raise not_found from error
            raise
        return Sender(request, clients, asker, project)

    return Depends(at)


def passed_on(answer: Answer[Any], status: int = 200) -> Response:
    """The owner's JSON, untouched: it was made from the contract that OpenAPI shows."""
    if status == 204:
        return Response(status_code=status)
    return Response(answer.content, status, media_type="application/json")
