"""Agents: who works in a project, on what, and how well."""

import uuid
from datetime import date
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.catalog import ResolveResource, ResourceName
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_common.errors import Invalid
from signalbox_gateway import errors
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes import everywhere
from signalbox_gateway.routes.at_tasks import NOT_HERE, TaskBody, check_runnable
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender, in_project_of
from signalbox_gateway.routes.router import Routes
from signalbox_gateway.routes.tasks import BESIDE, NewTask

routes = Routes("/api/v1", "agents")

AtAgent = Annotated[
    Sender,
    in_project_of("tasks", "agent_id", lambda found: contract.FindAgent(agent=found), errors.AgentNotFound),
]
"""Below `/agents/{agent_id}`."""
_OFTEN = Annotated[int, Query(ge=1, le=200)]


class NewAgent(TaskBody):
    name: contract.AgentName
    role: contract.AgentRole = ""
    avatar_url: contract.AvatarUrl | None = None
    bot: ResourceName | None = None
    """One of the project, as which it works."""
    team: ResourceName | None = None
    concurrency: contract.AgentConcurrency | None = None
    """Runs at a time; by default as many as the project has room for."""

    async def asked(self, here: Sender) -> contract.CreateAgent:
        wanted = contract.CreateAgent(**self.model_dump(include=set(NewAgent.model_fields)))
        await check_runnable(here, wanted.bot, wanted.team)
        return wanted


class NewAgentSomewhere(NewAgent):
    """In the asker's personal project, if it says no other."""

    project_id: uuid.UUID | None = None


class AgentChange(TaskBody):
    """What is not named stays; null clears the picture and the bound."""

    name: contract.AgentName | None = None
    role: contract.AgentRole | None = None
    avatar_url: contract.AvatarUrl | None = None
    bot: ResourceName | None = None
    team: ResourceName | None = None
    concurrency: contract.AgentConcurrency | None = None


class NewActivity(TaskBody):
    type: contract.ActivityType = "note"
    message: contract.ActivityMessage = ""
    data: Annotated[dict[str, Any], Field(max_length=100)] = Field(default_factory=dict)


@routes.on("POST", "/agents", contract.CreateAgent, ResolveResource, status=201, also=NOT_HERE)
async def create_agent(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewAgentSomewhere
) -> Response:
    """Somebody to give tasks to: a bot or a team under a name of its own."""
    here = Sender(request, clients, asker, body.project_id or HOME)
    return await here.send(await body.asked(here))


@routes.on(
    "POST",
    "/projects/{project_id}/agents",
    contract.CreateAgent,
    ResolveResource,
    status=201,
    also=NOT_HERE,
)
async def create_agent_in_project(here: InProject, body: NewAgent) -> Response:
    return await here.send(await body.asked(here))


@routes.on("GET", "/agents", contract.ListAgents)
async def list_agents(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default all that the asker may read.")
    ] = None,
    q: Annotated[Search | None, Query(description="Words of the name or of the role.")] = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Newest first, with what each comes to at the moment."""
    wanted = contract.ListAgents(q=q, cursor=cursor, limit=limit)
    return await everywhere.listed(request, clients, asker, wanted, project_id)


@routes.on("GET", "/projects/{project_id}/agents", contract.ListAgents)
async def list_agents_of_project(here: InProject, page: Annotated[contract.ListAgents, Query()]) -> Response:
    return await here.send(page)


@routes.on("GET", "/agents/{agent_id}", contract.GetAgent)
async def get_agent(here: AtAgent, agent_id: uuid.UUID) -> Response:
    return await here.send(contract.GetAgent(agent=agent_id))


@routes.on("PATCH", "/agents/{agent_id}", contract.UpdateAgent, ResolveResource, also=NOT_HERE)
async def update_agent(here: AtAgent, agent_id: uuid.UUID, body: AgentChange) -> Response:
    if body.bot is not None or body.team is not None:
        await check_runnable(here, body.bot, body.team)
    given = body.model_dump(exclude_unset=True)
    named = {name: value for name, value in given.items() if value is not None}
    cleared = [name for name in ("avatar_url", "concurrency") if name in given and name not in named]
    return await here.send(contract.UpdateAgent(agent=agent_id, clear=cleared, **named))


@routes.on("DELETE", "/agents/{agent_id}", contract.DeleteAgent)
async def delete_agent(here: AtAgent, agent_id: uuid.UUID) -> Response:
    """With its activity and metrics, once none of its tasks is under way; its tasks stay."""
    return await here.send(contract.DeleteAgent(agent=agent_id))


@routes.on(
    "POST",
    "/agents/{agent_id}/start-task",
    contract.CreateTask,
    *BESIDE,
    status=201,
    also=NOT_HERE,
)
async def start_task(here: AtAgent, agent_id: uuid.UUID, body: NewTask) -> Response:
    """A task for this agent; it begins when the agent, and its project, have room for it."""
    if body.agent_id not in (None, agent_id):
        raise Invalid("agentId names another agent.")
    wanted = body.model_copy(update={"agent_id": agent_id})
    return await here.send(contract.CreateTask(task=await wanted.asked(here)))


@routes.on("POST", "/agents/{agent_id}/activity", contract.AppendActivity, status=201)
async def append_activity(here: AtAgent, agent_id: uuid.UUID, body: NewActivity) -> Response:
    return await here.send(
        contract.AppendActivity(agent=agent_id, type=body.type, message=body.message, data=body.data)
    )


@routes.on("GET", "/agents/{agent_id}/activity", contract.ListActivity)
async def list_activity(
    here: AtAgent, agent_id: uuid.UUID, cursor: Cursor | None = None, limit: _OFTEN = 50
) -> Response:
    """Newest first: what was noted of it, and the beginnings and ends of its runs."""
    return await here.send(contract.ListActivity(agent=agent_id, cursor=cursor, limit=limit))


@routes.on("GET", "/agents/{agent_id}/history", contract.ListExecutions)
async def list_executions(
    here: AtAgent, agent_id: uuid.UUID, cursor: Cursor | None = None, limit: _OFTEN = 50
) -> Response:
    """Its runs, newest first."""
    return await here.send(contract.ListExecutions(agent=agent_id, cursor=cursor, limit=limit))


@routes.on("GET", "/agents/{agent_id}/metrics", contract.GetAgentMetrics)
async def get_agent_metrics(
    here: AtAgent,
    agent_id: uuid.UUID,
    since: Annotated[date | None, Query(alias="from", description="By default 30 days.")] = None,
    until: Annotated[date | None, Query(alias="to", description="The last day; by default today.")] = None,
) -> Response:
    """Counted when its runs ended, so that it takes no longer for millions of them."""
    return await here.send(contract.GetAgentMetrics(agent=agent_id, since=since, until=until))
