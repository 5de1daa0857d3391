"""Triggers: tasks that are started by what others tell, and the addresses where they do."""

import base64
import uuid
from collections.abc import Iterable
from typing import Annotated

from fastapi import Query, Request
from pydantic import Field, SecretStr
from starlette.responses import Response

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_gateway import errors
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes import everywhere
from signalbox_gateway.routes.at_tasks import NOT_HERE, TaskBody
from signalbox_gateway.routes.here import HOME, Anybody, ClientsHere, InProject, Sender, in_project_of
from signalbox_gateway.routes.router import Routes
from signalbox_gateway.routes.tasks import BESIDE, NewTask

routes = Routes("/api/v1", "triggers")

AtTrigger = Annotated[
    Sender,
    in_project_of(
        "tasks", "trigger_id", lambda found: contract.FindTrigger(trigger=found), errors.TriggerNotFound
    ),
]
"""Below `/triggers/{trigger_id}`."""
_DELIVERIES = ("webhook-id", "x-github-delivery", "x-gitea-delivery", "idempotency-key")
_SIGNATURES = ("webhook-signature", "x-hub-signature-256")


class NewTrigger(TaskBody):
    name: contract.TriggerName
    event: contract.EventPattern | None = None
    """Types of events from outside, like `ext.ci.>`; without it, it gets an address of its own."""
    verify: contract.Verification = contract.Verification.TOKEN
    """How it is known who has sent something to the address."""
    task: NewTask
    """What is created, as `POST /tasks` takes it; `${NAME}` in its title or description is a parameter."""
    when: contract.Matching = Field(default_factory=dict)
    """Only where each of these places of the payload has one of its values."""
    parameters: contract.Mapped = Field(default_factory=dict)
    """Parameters of the task, and where in the payload they stand."""
    per_minute: contract.PerMinute = 60

    async def asked(self, here: Sender) -> contract.CreateTrigger:
        rules = contract.TriggerRules(when=self.when, parameters=self.parameters, per_minute=self.per_minute)
        task = await self.task.asked(here)
        return contract.CreateTrigger(
            name=self.name, event=self.event, verify=self.verify, task=task, rules=rules
        )


class NewTriggerSomewhere(NewTrigger):
    """In the asker's personal project, if it says no other."""

    project_id: uuid.UUID | None = None


class TriggerChange(TaskBody):
    """What is not named stays."""

    name: contract.TriggerName | None = None
    event: contract.EventPattern | None = None
    task: NewTask | None = None
    when: contract.Matching | None = None
    parameters: contract.Mapped | None = None
    per_minute: contract.PerMinute | None = None


@routes.on("POST", "/triggers", contract.CreateTrigger, *BESIDE, status=201, also=NOT_HERE)
async def create_trigger(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewTriggerSomewhere
) -> Response:
    """Its tasks act for whoever creates it. Its address ends with `token`, which is shown this once."""
    here = Sender(request, clients, asker, body.project_id or HOME)
    return await here.send(await body.asked(here))


@routes.on(
    "POST", "/projects/{project_id}/triggers", contract.CreateTrigger, *BESIDE, status=201, also=NOT_HERE
)
async def create_trigger_in_project(here: InProject, body: NewTrigger) -> Response:
    return await here.send(await body.asked(here))


@routes.on("GET", "/triggers", contract.ListTriggers)
async def list_triggers(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default all that the asker may read.")
    ] = None,
    q: Annotated[Search | None, Query(description="Words of the name.")] = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first."""
    wanted = contract.ListTriggers(q=q, cursor=cursor, limit=limit)
    return await everywhere.listed(request, clients, asker, wanted, project_id)


@routes.on("GET", "/projects/{project_id}/triggers", contract.ListTriggers)
async def list_triggers_of_project(
    here: InProject, page: Annotated[contract.ListTriggers, Query()]
) -> Response:
    return await here.send(page)


@routes.on("GET", "/triggers/{trigger_id}", contract.GetTrigger)
async def get_trigger(here: AtTrigger, trigger_id: uuid.UUID) -> Response:
    return await here.send(contract.GetTrigger(trigger=trigger_id))


@routes.on("PATCH", "/triggers/{trigger_id}", contract.UpdateTrigger, *BESIDE, also=NOT_HERE)
async def update_trigger(here: AtTrigger, trigger_id: uuid.UUID, body: TriggerChange) -> Response:
    """From now on it acts for whoever changes it."""
    task = await body.task.asked(here) if body.task is not None else None
    return await here.send(
        contract.UpdateTrigger(
            trigger=trigger_id,
            name=body.name,
            event=body.event,
            task=task,
            when=body.when,
            parameters=body.parameters,
            per_minute=body.per_minute,
        )
    )


@routes.on("DELETE", "/triggers/{trigger_id}", contract.DeleteTrigger)
async def delete_trigger(here: AtTrigger, trigger_id: uuid.UUID) -> Response:
    """Its tasks stay, and go on."""
    return await here.send(contract.DeleteTrigger(trigger=trigger_id))


@routes.on("POST", "/triggers/{trigger_id}/pause", contract.PauseTrigger)
async def pause_trigger(here: AtTrigger, trigger_id: uuid.UUID) -> Response:
    return await here.send(contract.PauseTrigger(trigger=trigger_id))


@routes.on("POST", "/triggers/{trigger_id}/resume", contract.ResumeTrigger)
async def resume_trigger(here: AtTrigger, trigger_id: uuid.UUID) -> Response:
    """For whoever says so."""
    return await here.send(contract.ResumeTrigger(trigger=trigger_id))


@routes.on("POST", "/triggers/{trigger_id}/rotate", contract.RotateTrigger)
async def rotate_trigger(here: AtTrigger, trigger_id: uuid.UUID) -> Response:
    """A new address and a new secret; the old ones count no more."""
    return await here.send(contract.RotateTrigger(trigger=trigger_id))


@routes.on("GET", "/triggers/{trigger_id}/history", contract.ListCalls)
async def list_calls(
    here: AtTrigger,
    trigger_id: uuid.UUID,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """What was sent to it, by its digest, and what became of that; newest first."""
    return await here.send(contract.ListCalls(trigger=trigger_id, cursor=cursor, limit=limit))


@routes.on(
    "POST",
    "/hooks/{token}",
    contract.CallTrigger,
    takes="anything",
    max_body=contract.LARGEST_PAYLOAD,
    any_query=True,
    body={"content": {"application/json": {"schema": {}}}},
)
async def call_trigger(here: Anybody, token: str, request: Request) -> Response:
    """For whoever knows the address. The same delivery once more is answered as it was."""
    payload = base64.b64encode(await request.body()).decode()
    return await here.send(
        contract.CallTrigger(
            token=SecretStr(token),
            payload=SecretStr(payload),
            delivery=_first(request, _DELIVERIES),
            signature=_first(request, _SIGNATURES),
            sent_at=request.headers.get("webhook-timestamp"),
        )
    )


def _first(request: Request, names: Iterable[str]) -> str | None:
    return next((found for name in names if (found := request.headers.get(name))), None)
