"""What the routes of tasks and runs stand on: whose they are."""

import uuid
from typing import Annotated

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from signalbox_common import teams
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.catalog import ResolveResource
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_gateway import errors
from signalbox_gateway.bytes_proxy import Place
from signalbox_gateway.routes.here import Sender, in_project_of


class TaskBody(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, hide_input_in_errors=True)


AtTask = Annotated[
    Sender,
    in_project_of("tasks", "task_id", lambda found: contract.FindTask(task=found), errors.TaskNotFound),
]
"""Below `/tasks/{task_id}`."""

AtRun = Annotated[
    Sender,
    in_project_of("tasks", "run_id", lambda found: contract.FindRun(run=found), errors.RunNotFound),
]
"""Below `/runs/{run_id}`."""


AtAttachment = Annotated[
    Sender,
    in_project_of(
        "tasks",
        "attachment_id",
        lambda found: contract.FindAttachment(attachment=found),
        errors.AttachmentNotFound,
    ),
]
"""Below `/attachments/{attachment_id}`."""


NOT_HERE = tuple((422, code) for code in errors.BadTeam.CODES)
"""What is answered where nobody here does what a bot or a team does."""


async def check_runnable(here: Sender, bot: str | None, team: str | None) -> None:
    """Whether somebody here does what they do; as they are when a run begins counts then."""
    if bot is None and team is None:
        return
    plural, name = ("bots", bot) if bot is not None else ("teams", team)
    tree = await here.value(ResolveResource(plural=plural, name=name or ""))
    try:
        teams.read(tree.root.model_dump(mode="json", by_alias=True))
    except teams.BadTeam as error:
        raise errors.BadTeam(error.code, error.detail) from error


async def place_at(here: Sender, route: DataRoute, **names: str) -> Place:
    """Of a route of the data plane of tasks."""
    if not isinstance(here.place, uuid.UUID):
        raise TypeError("a run is in a project")
    found = (await here.clients.query(here.someone, contract.LocateTasks(), project=here.place)).value()
    return Place(route, found.url, here.place, names)
