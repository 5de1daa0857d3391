"""Composition root of the tasks service."""

import uuid
from collections.abc import Awaitable, Callable

from signalbox_common.addresses import PrivateHosts
from signalbox_common.contracts.tasks import StepName
from signalbox_common.db import Database, Transaction
from signalbox_common.keys import StepIds
from signalbox_common.limiter import ProjectLimiter
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.runtime import Service, run
from signalbox_common.secrets import SecretStore
from signalbox_common.storage import ProjectStorage
from signalbox_tasks import handlers
from signalbox_tasks.data.attachments import AttachmentRoutes
from signalbox_tasks.data.logs import LogRoutes
from signalbox_tasks.replies import SCHEMA
from signalbox_tasks.service.agents import Agents
from signalbox_tasks.service.answers import Answers
from signalbox_tasks.service.attachments import Attachments
from signalbox_tasks.service.attempts import Attempts
from signalbox_tasks.service.authorities import Authorities
from signalbox_tasks.service.calls import Calls
from signalbox_tasks.service.environments import Environments
from signalbox_tasks.service.followers import LogFollowers
from signalbox_tasks.service.news import News
from signalbox_tasks.service.notifications import Notifications
from signalbox_tasks.service.proofs import Proofs
from signalbox_tasks.service.quotas import RunQuotas
from signalbox_tasks.service.runs import Runs
from signalbox_tasks.service.schedules import Schedules
from signalbox_tasks.service.signing_secrets import SigningSecrets
from signalbox_tasks.service.tasks import Tasks
from signalbox_tasks.service.triggers import Triggers
from signalbox_tasks.service.turns import Turns
from signalbox_tasks.service.usage import Usage
from signalbox_tasks.settings import TasksSettings
from signalbox_tasks.store import agents as agent_rows
from signalbox_tasks.store import notifications as notification_rows
from signalbox_tasks.store import projects
from signalbox_tasks.store import runs as rows
from signalbox_tasks.store import triggers as trigger_rows
from signalbox_tasks.store import usage as usage_rows
from signalbox_tasks.work.closing import Closing
from signalbox_tasks.work.delegations import Delegations
from signalbox_tasks.work.engine import Engine
from signalbox_tasks.work.log import RunLog
from signalbox_tasks.work.notifier import Notifier
from signalbox_tasks.work.outside_events import OutsideEvents
from signalbox_tasks.work.peers import Grants
from signalbox_tasks.work.scheduler import Scheduler
from signalbox_tasks.work.standing_authority import StandingAuthority
from signalbox_tasks.work.steps.authority import AuthorityStep
from signalbox_tasks.work.steps.checkout import CheckoutStep
from signalbox_tasks.work.steps.collect import CollectStep
from signalbox_tasks.work.steps.delivery import DeliveryStep
from signalbox_tasks.work.steps.programs import SetupStep
from signalbox_tasks.work.steps.sandbox import SandboxStep
from signalbox_tasks.work.steps.shell import ShellStep
from signalbox_tasks.work.steps.team import TeamStep
from signalbox_tasks.work.timekeeper import Timekeeper
from signalbox_tasks.work.webhooks import Webhooks


def build(settings: TasksSettings) -> Service:
    app = Service(settings)
    secrets = app.keep_secrets(settings)
    secret_key = settings.secret_key.get_secret_value()
    quotas = ProjectQuotas(SCHEMA, settings.limits())
    storage = ProjectStorage(SCHEMA, quotas)
    turns = Turns(app.work, quotas)
    environments = Environments(app.database, secrets, secret_key=secret_key)
    runs = Runs(app.database, url=settings.data_address())
    news = News(app.database, app.work, turns)
    followers = LogFollowers()
    proofs = Proofs(app.database, secrets)
    tasks = Tasks(app.database, app.work, turns, proofs, app.space)
    attempts = Attempts(turns, proofs, app.space)
    answers = Answers(app.work, turns)
    agents = Agents(app.database, turns)
    authorities = Authorities(app.work, proofs)
    schedules = Schedules(app.database, turns, authorities, tasks)
    limiter, (of_triggers, of_notifications) = ProjectLimiter(), _signing_secrets(app.database, secrets)
    triggers = Triggers(app.database, of_triggers, turns, authorities, limiter)
    calls = Calls(app.database, of_triggers, turns, app.space, limiter)
    outside = OutsideEvents(app.database, app.work, calls, app.space)
    private = PrivateHosts.parse(settings.private_hosts)
    notifications = Notifications(app.database, of_notifications, app.work, turns, private, limiter)
    attachments = Attachments(app.database, storage, most_mb=settings.attachments_mb)
    handlers.register(
        app.bus,
        tasks,
        attempts,
        answers,
        runs,
        environments,
        attachments,
        agents,
        schedules,
        triggers,
        calls,
        outside,
        notifications,
        Usage(app.database),
        RunQuotas(quotas, turns),
        storage,
        news,
    )
    if settings.data_listen is not None:
        LogRoutes(app.database, runs, followers).register(app.data)
        AttachmentRoutes(app.database, attachments).register(app.data)
    ids = StepIds(secret_key)
    delegations, log = Delegations(app.bus, secrets), RunLog(app.bus, followers)
    Engine(
        app.database,
        app.bus,
        turns,
        Grants(app.bus, secrets),
        ids,
        {
            StepName.AUTHORITY: AuthorityStep(delegations),
            StepName.PREPARE: CheckoutStep(),
            StepName.SANDBOX: SandboxStep(environments),
            StepName.SETUP: SetupStep(log),
            StepName.RESOLVE: TeamStep(),
            StepName.SHELL: ShellStep(log),
            StepName.COLLECT: CollectStep(log),
            StepName.DELIVER: DeliveryStep(),
        },
        most=settings.runs_most,
    ).register(app.work)
    Closing(delegations).register(app.work)
    outside.register(app.work)
    Notifier(app.database, app.work, of_notifications, Webhooks(private)).register()
    scheduler = Scheduler(app.database, app.work, turns, app.space)
    StandingAuthority(app.database, delegations, scheduler, ids).register(app.work)
    timekeeper = Timekeeper(app.database, news)

    async def prepare() -> None:
        await secrets.check()
        timekeeper.start()
        scheduler.start()

    async def finish() -> None:
        await scheduler.stop()
        await timekeeper.stop()

    async def tidy(transaction: Transaction) -> None:
        ended: tuple[Callable[[Transaction, int], Awaitable[object]], ...] = (
            *(rows.forget, agent_rows.forget, usage_rows.forget),
            *(each.forget for each in (schedules, triggers, notifications)),
        )
        for forget in ended:
            await forget(transaction, settings.tasks_kept_days)
        await attachments.measure(transaction)
        for each in (environments, attachments, proofs, of_triggers, of_notifications):
            await each.forget()

    app.prepare, app.finish, app.tidy = prepare, finish, tidy
    return app


def _signing_secrets(database: Database, secrets: SecretStore) -> tuple[SigningSecrets, SigningSecrets]:
    """Of triggers, and of notifications."""

    async def of_trigger(trigger: uuid.UUID, secret: uuid.UUID) -> bool:
        async with database.reading() as connection:
            return await trigger_rows.is_signed_with(connection, trigger, secret)

    async def of_notification(notification: uuid.UUID, secret: uuid.UUID) -> bool:
        async with database.transaction() as transaction:
            now, _ = await projects.moments(transaction)
            found = await notification_rows.known(transaction, notification)
        return found is not None and secret in found.secrets(now)

    return (
        SigningSecrets(secrets, "triggers", of_trigger),
        SigningSecrets(secrets, "notifications", of_notification),
    )


def main() -> None:
    run(lambda: build(TasksSettings()))
