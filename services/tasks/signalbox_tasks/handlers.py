"""Which use case answers which contract."""

from signalbox_common.bus import ServiceBus
from signalbox_common.contracts import tasks as contract
from signalbox_common.contracts.streams import (
    AGENTS_BACK,
    AGENTS_FOUND,
    AGENTS_LOST,
    RUN_CHECKOUTS,
    RUN_DELIVERIES,
    RUN_QUOTAS,
    RUN_SANDBOXES,
    RUN_STORAGE,
    RUNS_BACK,
    RUNS_GONE,
    TRIGGERS_TOLD,
)
from signalbox_common.storage import ProjectStorage
from signalbox_tasks.service.agents import Agents
from signalbox_tasks.service.answers import Answers
from signalbox_tasks.service.attachments import Attachments
from signalbox_tasks.service.attempts import Attempts
from signalbox_tasks.service.calls import Calls
from signalbox_tasks.service.environments import Environments
from signalbox_tasks.service.news import News
from signalbox_tasks.service.notifications import Notifications
from signalbox_tasks.service.quotas import RunQuotas
from signalbox_tasks.service.runs import Runs
from signalbox_tasks.service.schedules import Schedules
from signalbox_tasks.service.tasks import Tasks
from signalbox_tasks.service.triggers import Triggers
from signalbox_tasks.service.usage import Usage
from signalbox_tasks.work.outside_events import OutsideEvents


def register(
    bus: ServiceBus,
    tasks: Tasks,
    attempts: Attempts,
    answers: Answers,
    runs: Runs,
    environments: Environments,
    attachments: Attachments,
    agents: Agents,
    schedules: Schedules,
    triggers: Triggers,
    calls: Calls,
    outside: OutsideEvents,
    notifications: Notifications,
    usage: Usage,
    quotas: RunQuotas,
    storage: ProjectStorage,
    news: News,
) -> None:
    bus.on_ask(contract.KeepEnvironment, own_transaction=True)(environments.keep)
    bus.on_command(contract.CreateTask)(tasks.create)
    bus.on_command(contract.CreateTasks)(tasks.create_many)
    bus.on_command(contract.CancelTask)(tasks.cancel)
    bus.on_command(contract.CancelTasks)(tasks.cancel_many)
    bus.on_command(contract.UpdateTask)(tasks.update)
    bus.on_command(contract.DeleteTask)(tasks.delete)
    bus.on_command(contract.RetryTask)(attempts.retry)
    bus.on_command(contract.FollowUpTask)(attempts.follow_up)
    bus.on_command(contract.DeliverRun)(attempts.deliver)
    bus.on_command(contract.AnswerRun)(answers.answer)
    bus.on_command(contract.DuplicateTask)(tasks.duplicate)
    bus.on_command(contract.DeleteAttachment)(attachments.delete)
    bus.on_query(contract.GetTask)(tasks.get)
    bus.on_query(contract.FindTask)(tasks.place)
    bus.on_query(contract.ListTasks)(tasks.page)
    bus.on_query(contract.GetRun)(runs.get)
    bus.on_query(contract.FindRun)(runs.place)
    bus.on_query(contract.ListRuns)(runs.page)
    bus.on_query(contract.GetRunSteps)(runs.steps)
    bus.on_query(contract.ListArtifacts)(runs.artifacts)
    bus.on_query(contract.LocateTasks)(runs.locate)
    bus.on_query(contract.GetAttachment)(attachments.get)
    bus.on_query(contract.FindAttachment)(attachments.place)
    bus.on_fact(RUN_CHECKOUTS)(news.checkout_changed)
    bus.on_fact(RUN_SANDBOXES)(news.sandbox_changed)
    bus.on_fact(RUN_DELIVERIES)(news.delivery_changed)
    bus.on_fact(RUNS_GONE)(news.project_gone)
    bus.on_fact(RUNS_BACK)(news.project_back)
    bus.on_query(contract.GetUsage)(usage.page)
    bus.on_fact(RUN_QUOTAS)(quotas.changed)
    bus.on_fact(RUN_STORAGE)(storage.heard)
    _register_agents(bus, agents)
    _register_schedules(bus, schedules)
    _register_triggers(bus, triggers, calls, outside)
    _register_notifications(bus, notifications)


def _register_agents(bus: ServiceBus, agents: Agents) -> None:
    bus.on_command(contract.CreateAgent)(agents.create)
    bus.on_command(contract.UpdateAgent)(agents.update)
    bus.on_command(contract.DeleteAgent)(agents.delete)
    bus.on_command(contract.AppendActivity)(agents.append)
    bus.on_query(contract.GetAgent)(agents.get)
    bus.on_query(contract.FindAgent)(agents.place)
    bus.on_query(contract.ListAgents)(agents.page)
    bus.on_query(contract.ListActivity)(agents.activity)
    bus.on_query(contract.ListExecutions)(agents.executions)
    bus.on_query(contract.GetAgentMetrics)(agents.metrics)
    bus.on_fact(AGENTS_FOUND)(agents.resource_there)
    bus.on_fact(AGENTS_BACK)(agents.resource_there)
    bus.on_fact(AGENTS_LOST)(agents.resource_gone)


def _register_schedules(bus: ServiceBus, schedules: Schedules) -> None:
    bus.on_command(contract.CreateSchedule)(schedules.create)
    bus.on_command(contract.UpdateSchedule)(schedules.update)
    bus.on_command(contract.PauseSchedule)(schedules.pause)
    bus.on_command(contract.ResumeSchedule)(schedules.resume)
    bus.on_command(contract.DeleteSchedule)(schedules.delete)
    bus.on_command(contract.RunSchedule)(schedules.run)
    bus.on_query(contract.GetSchedule)(schedules.get)
    bus.on_query(contract.FindSchedule)(schedules.place)
    bus.on_query(contract.ListSchedules)(schedules.page)
    bus.on_query(contract.ListFirings)(schedules.firings)


def _register_triggers(bus: ServiceBus, triggers: Triggers, calls: Calls, outside: OutsideEvents) -> None:
    bus.on_ask(contract.CreateTrigger, own_transaction=True)(triggers.create)
    bus.on_ask(contract.RotateTrigger, own_transaction=True)(triggers.rotate)
    bus.on_ask(contract.CallTrigger, own_transaction=True)(calls.call)
    bus.on_command(contract.UpdateTrigger)(triggers.update)
    bus.on_command(contract.PauseTrigger)(triggers.pause)
    bus.on_command(contract.ResumeTrigger)(triggers.resume)
    bus.on_command(contract.DeleteTrigger)(triggers.delete)
    bus.on_query(contract.GetTrigger)(triggers.get)
    bus.on_query(contract.FindTrigger)(triggers.place)
    bus.on_query(contract.ListTriggers)(triggers.page)
    bus.on_query(contract.ListCalls)(triggers.calls)
    bus.on_facts(TRIGGERS_TOLD)(outside.tell)


def _register_notifications(bus: ServiceBus, notifications: Notifications) -> None:
    bus.on_ask(contract.CreateNotification, own_transaction=True)(notifications.create)
    bus.on_ask(contract.RotateNotification, own_transaction=True)(notifications.rotate)
    bus.on_command(contract.UpdateNotification)(notifications.update)
    bus.on_command(contract.PauseNotification)(notifications.pause)
    bus.on_command(contract.ResumeNotification)(notifications.resume)
    bus.on_command(contract.DeleteNotification)(notifications.delete)
    bus.on_command(contract.PingNotification)(notifications.ping)
    bus.on_command(contract.RedeliverNotice)(notifications.redeliver)
    bus.on_query(contract.GetNotification)(notifications.get)
    bus.on_query(contract.FindNotification)(notifications.place)
    bus.on_query(contract.ListNotifications)(notifications.page)
    bus.on_query(contract.GetNotice)(notifications.notice)
    bus.on_query(contract.ListNotices)(notifications.notices)
