"""Tasks: what somebody wants done, and how far it is."""

import uuid
from typing import Annotated, Literal

from fastapi import Query, Request
from pydantic import Field
from starlette.responses import Response

from signalbox_common.contracts import git, sandbox
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.base import Text
from signalbox_common.contracts.catalog import ResolveResource, ResourceName
from signalbox_common.contracts.paging import Cursor, Search
from signalbox_gateway.errors import SortNeedsProject
from signalbox_gateway.identity import CurrentAsker
from signalbox_gateway.routes import everywhere
from signalbox_gateway.routes.at_tasks import NOT_HERE, AtTask, TaskBody, check_runnable
from signalbox_gateway.routes.checkouts import named
from signalbox_gateway.routes.here import HOME, ClientsHere, InProject, Sender
from signalbox_gateway.routes.router import Routes
from signalbox_gateway.routes.timings import Timing

routes = Routes("/api/v1", "tasks")

BESIDE = (contract.KeepEnvironment, contract.GetAgent, git.GetRepository, ResolveResource)
"""What is asked before a task is created: its variables are kept, and what it names is looked up."""
_LONGEST_NAME = 200
"""Of a schedule."""


class TaskProgram(TaskBody):
    """A program in a sandbox: `script` for a shell, or `argv`."""

    script: contract.Script | None = None
    argv: Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)] | None = None
    cwd: contract.ShellPath | None = None
    env: sandbox.Environment = Field(default_factory=dict)
    """Shown to nobody afterwards."""
    files: Annotated[tuple[contract.ExecFile, ...], Field(max_length=50)] = ()
    expected_exit: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(max_length=50)] = (0,)

    async def asked(self, here: Sender, part: str) -> contract.ExecShell:
        """Its variables are kept before, in no stream."""
        environment = None
        if self.env:
            environment = (await here.part(contract.KeepEnvironment(env=self.env), part)).environment
        return contract.ExecShell(
            script=self.script,
            argv=self.argv,
            cwd=self.cwd,
            files=self.files,
            expected_exit=self.expected_exit,
            environment=environment,
        )


class NewTask(TaskBody):
    title: contract.Title
    description: contract.Description = ""
    priority: contract.Priority = contract.Priority.MEDIUM
    labels: contract.Labels = Field(default_factory=dict)
    exec: TaskProgram | None = None
    noop: contract.NoopShell | None = None
    """Does nothing, and has done it at once."""
    bot: ResourceName | None = None
    """One of the project, whose shell says what is done."""
    team: ResourceName | None = None
    """The same of several, one after the other."""
    agent_id: uuid.UUID | None = None
    """Who works on it, as a bot or a team."""
    parameters: contract.Parameters = Field(default_factory=dict)
    """For its programs, as variables of the same names."""
    repository: git.RepositoryName | None = None
    """Whose files its sandbox has, by id or by name; what is changed there goes to a branch."""
    base: git.Revision | None = None
    branch: git.RefName | None = None
    setup: git.SetupCommands = ()
    """After those of the repository."""
    template: sandbox.TemplateName = "base"
    limits: sandbox.Limits = sandbox.Limits()
    network: sandbox.Network = "none"
    commits: Literal["squash", "keep"] = "squash"
    pull_request: contract.PullRequestOptions | Literal[False] = contract.PullRequestOptions()
    workflow_files: Literal["refuse", "allow"] = "refuse"
    timeout: contract.Seconds = 3600
    """Seconds from its beginning on."""
    queue_timeout: contract.Seconds = contract.DAY
    """Seconds until then."""
    wait_timeout: contract.Seconds = contract.DAY
    """Seconds that it waits for a person."""
    retry: contract.RetryPolicy = contract.RetryPolicy()
    """Whether a run that has failed is followed by another one by itself."""
    concurrency: contract.Concurrency | None = None
    depends_on: Annotated[tuple[uuid.UUID, ...], Field(max_length=50)] = ()
    attachments: contract.AttachmentIds = ()
    """Files that its programs find at `$SIGNALBOX_ATTACHMENTS`."""

    async def asked(self, here: Sender, part: str = "environment") -> contract.NewTask:
        """With what it refers to."""
        shell = await self.exec.asked(here, part) if self.exec is not None else None
        found = None
        if self.agent_id is not None:
            agent = await here.value(contract.GetAgent(agent=self.agent_id))
            await check_runnable(here, agent.bot, agent.team)
        else:
            await check_runnable(here, self.bot, self.team)
        if self.repository is not None:
            found = await here.value(named(self.repository))
        spec = contract.TaskSpec(
            exec=shell,
            noop=self.noop,
            bot=self.bot,
            team=self.team,
            agent=self.agent_id,
            parameters=self.parameters,
            repository=found.id if found is not None else None,
            base=self.base,
            branch=self.branch,
            setup=((*found.setup, *self.setup) if found is not None else self.setup),
            template=self.template,
            limits=self.limits,
            network=self.network,
            commits=self.commits,
            pull_request=self.pull_request,
            workflow_files=self.workflow_files,
            timeout=self.timeout,
            queue_timeout=self.queue_timeout,
            wait_timeout=self.wait_timeout,
            retry=self.retry,
            concurrency=self.concurrency,
            depends_on=self.depends_on,
            attachments=self.attachments,
        )
        return contract.NewTask(
            title=self.title,
            description=self.description,
            priority=self.priority,
            labels=self.labels,
            spec=spec,
        )


class TaskOrSchedule(NewTask):
    schedule: Timing | None = None
    """When it is created, by itself: then what is answered is the schedule, called as the task is."""

    async def wanted(self, here: Sender) -> contract.CreateTask | contract.CreateSchedule:
        task = await self.asked(here)
        if self.schedule is None:
            return contract.CreateTask(task=task)
        return self.schedule.asked(self.title[:_LONGEST_NAME], task)


class TaskOrScheduleSomewhere(TaskOrSchedule):
    """In the asker's personal project, if it says no other."""

    project_id: uuid.UUID | None = None


class NewTasks(TaskBody):
    tasks: Annotated[tuple[NewTask, ...], Field(min_length=1, max_length=100)]


class NewTasksSomewhere(NewTasks):
    project_id: uuid.UUID | None = None


class TheseTasks(TaskBody):
    tasks: Annotated[tuple[uuid.UUID, ...], Field(min_length=1, max_length=100)]


class TasksSomewhere(TheseTasks):
    project_id: uuid.UUID | None = None


class TaskChange(TaskBody):
    """What is not named stays."""

    title: contract.Title | None = None
    description: contract.Description | None = None
    priority: contract.Priority | None = None
    labels: contract.Labels | None = None


class FollowUp(TaskBody):
    message: Annotated[Text, Field(min_length=1, max_length=100_000)]
    """What is wanted beyond; the first line is that of its commit."""
    exec: TaskProgram | None = None
    """What is done; by default the same once more."""


@routes.on(
    "POST",
    "/tasks",
    contract.CreateTask,
    contract.CreateSchedule,
    *BESIDE,
    status=201,
    also=NOT_HERE,
    response_model=contract.Task | contract.Schedule,
)
async def create_task(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: TaskOrScheduleSomewhere
) -> Response:
    """It begins when its turn comes; `runId` is its first run. With a `schedule`, that is what is created."""
    here = Sender(request, clients, asker, body.project_id or HOME)
    return await here.send(await body.wanted(here))


@routes.on(
    "POST",
    "/projects/{project_id}/tasks",
    contract.CreateTask,
    contract.CreateSchedule,
    *BESIDE,
    status=201,
    also=NOT_HERE,
    response_model=contract.Task | contract.Schedule,
)
async def create_task_in_project(here: InProject, body: TaskOrSchedule) -> Response:
    return await here.send(await body.wanted(here))


@routes.on("POST", "/tasks/bulk", contract.CreateTasks, *BESIDE, status=201, also=NOT_HERE)
async def create_tasks(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: NewTasksSomewhere
) -> Response:
    """All of them, or none."""
    return await _create_all(Sender(request, clients, asker, body.project_id or HOME), body)


@routes.on(
    "POST", "/projects/{project_id}/tasks/bulk", contract.CreateTasks, *BESIDE, status=201, also=NOT_HERE
)
async def create_tasks_in_project(here: InProject, body: NewTasks) -> Response:
    return await _create_all(here, body)


async def _create_all(here: Sender, body: NewTasks) -> Response:
    wanted = [await each.asked(here, f"environment.{number}") for number, each in enumerate(body.tasks)]
    return await here.send(contract.CreateTasks(tasks=tuple(wanted)))


@routes.on("POST", "/tasks/bulk/cancel", contract.CancelTasks)
async def cancel_tasks(
    request: Request, clients: ClientsHere, asker: CurrentAsker, body: TasksSomewhere
) -> Response:
    """All that have not ended; answered before they have."""
    here = Sender(request, clients, asker, body.project_id or HOME)
    return await here.send(contract.CancelTasks(tasks=body.tasks))


@routes.on("POST", "/projects/{project_id}/tasks/bulk/cancel", contract.CancelTasks)
async def cancel_tasks_in_project(here: InProject, body: TheseTasks) -> Response:
    return await here.send(contract.CancelTasks(tasks=body.tasks))


@routes.on("GET", "/tasks", contract.ListTasks, also=[(422, SortNeedsProject.code)])
async def list_tasks(
    request: Request,
    clients: ClientsHere,
    asker: CurrentAsker,
    project_id: Annotated[
        uuid.UUID | None, Query(alias="projectId", description="By default all that the asker may read.")
    ] = None,
    status: contract.TaskStatus | None = None,
    priority: contract.Priority | None = None,
    repository: uuid.UUID | None = None,
    label: Annotated[str | None, Query(max_length=301, description="`name=value`, or a name.")] = None,
    created_by: Annotated[uuid.UUID | None, Query(alias="createdBy")] = None,
    agent_id: Annotated[uuid.UUID | None, Query(alias="agentId")] = None,
    schedule_id: Annotated[uuid.UUID | None, Query(alias="scheduleId")] = None,
    trigger_id: Annotated[uuid.UUID | None, Query(alias="triggerId")] = None,
    q: Annotated[Search | None, Query(description="Words of the title or of the description.")] = None,
    sort: Annotated[
        contract.TaskOrder, Query(description="Within one project; otherwise the newest come first.")
    ] = contract.TaskOrder.NEWEST,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first, where nothing else is asked for."""
    wanted = contract.ListTasks(
        status=status,
        priority=priority,
        repository=repository,
        label=label,
        created_by=created_by,
        agent_id=agent_id,
        schedule_id=schedule_id,
        trigger_id=trigger_id,
        q=q,
        sort=sort,
        cursor=cursor,
        limit=limit,
    )
    if project_id is None and sort is not contract.TaskOrder.NEWEST:
        raise SortNeedsProject
    return await everywhere.listed(request, clients, asker, wanted, project_id)


@routes.on("GET", "/projects/{project_id}/tasks", contract.ListTasks)
async def list_tasks_of_project(here: InProject, page: Annotated[contract.ListTasks, Query()]) -> Response:
    return await here.send(page)


@routes.on("GET", "/tasks/{task_id}", contract.GetTask)
async def get_task(here: AtTask, task_id: uuid.UUID) -> Response:
    return await here.send(contract.GetTask(task=task_id))


@routes.on("PATCH", "/tasks/{task_id}", contract.UpdateTask)
async def update_task(here: AtTask, task_id: uuid.UUID, body: TaskChange) -> Response:
    return await here.send(
        contract.UpdateTask(
            task=task_id,
            title=body.title,
            description=body.description,
            priority=body.priority,
            labels=body.labels,
        )
    )


@routes.on("DELETE", "/tasks/{task_id}", contract.DeleteTask)
async def delete_task(here: AtTask, task_id: uuid.UUID) -> Response:
    """With the logs and artifacts of its runs; what was pushed stays where it is."""
    return await here.send(contract.DeleteTask(task=task_id))


@routes.on("POST", "/tasks/{task_id}/cancel", contract.CancelTask)
async def cancel_task(here: AtTask, task_id: uuid.UUID) -> Response:
    """Answered when its run has ended; what it has changed until then is kept with it."""
    return await here.send(contract.CancelTask(task=task_id))


@routes.on("POST", "/tasks/{task_id}/retry", contract.RetryTask, status=201)
async def retry_task(here: AtTask, task_id: uuid.UUID) -> Response:
    """A new run of what did not succeed."""
    return await here.send(contract.RetryTask(task=task_id))


@routes.on("POST", "/tasks/{task_id}/follow-up", contract.FollowUpTask, contract.KeepEnvironment, status=201)
async def follow_up_task(here: AtTask, task_id: uuid.UUID, body: FollowUp) -> Response:
    """A new run that goes on from where the last one has come to."""
    shell = await body.exec.asked(here, "environment") if body.exec is not None else None
    return await here.send(contract.FollowUpTask(task=task_id, message=body.message, exec=shell))


@routes.on("POST", "/tasks/{task_id}/duplicate", contract.DuplicateTask, status=201)
async def duplicate_task(here: AtTask, task_id: uuid.UUID) -> Response:
    return await here.send(contract.DuplicateTask(task=task_id))


@routes.on("GET", "/tasks/{task_id}/runs", contract.ListRuns)
async def list_runs(
    here: AtTask,
    task_id: uuid.UUID,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Newest first."""
    return await here.send(contract.ListRuns(task=task_id, cursor=cursor, limit=limit))
