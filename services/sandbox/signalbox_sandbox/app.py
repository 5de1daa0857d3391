"""Composition root of the sandbox service."""

from signalbox_common.quotas import ProjectQuotas
from signalbox_common.runtime import Service, run
from signalbox_common.storage import ProjectStorage
from signalbox_sandbox import handlers
from signalbox_sandbox.checkouts import Checkouts
from signalbox_sandbox.data.changes import ChangeRoutes
from signalbox_sandbox.data.desk import DataDesk
from signalbox_sandbox.data.files import FileRoutes
from signalbox_sandbox.data.metrics import MetricRoutes
from signalbox_sandbox.data.ports import PortRoutes
from signalbox_sandbox.data.processes import ProcessRoutes
from signalbox_sandbox.domain import LIMITS_OF_NODE
from signalbox_sandbox.layers import Layers
from signalbox_sandbox.replies import SCHEMA
from signalbox_sandbox.runtime.bubblewrap import BubblewrapRuntime
from signalbox_sandbox.service.checkouts import CheckoutNews
from signalbox_sandbox.service.projects import Projects
from signalbox_sandbox.service.runs import Runs
from signalbox_sandbox.service.sandboxes import Sandboxes
from signalbox_sandbox.service.templates import Templates
from signalbox_sandbox.settings import SandboxSettings
from signalbox_sandbox.work.egress import EgressLink
from signalbox_sandbox.work.node import Node
from signalbox_sandbox.work.observer import Observer
from signalbox_sandbox.work.plans import Plans
from signalbox_sandbox.work.reconciler import Reconciler
from signalbox_sandbox.work.records import Records
from signalbox_sandbox.work.tidying import Tidying

_MIB = 1024 * 1024


def build(settings: SandboxSettings) -> Service:
    name = settings.node_name()
    app = Service(settings, node=name)
    secrets = app.keep_secrets(settings)
    runtime = BubblewrapRuntime(settings.sandboxes)
    quotas = ProjectQuotas(SCHEMA, settings.limits())
    storage = ProjectStorage(SCHEMA, quotas)
    sandboxes = Sandboxes(
        app.database,
        app.work,
        secrets,
        app.space,
        quotas,
        node=name,
        url=settings.data_address(),
        secret_key=settings.secret_key.get_secret_value(),
        network=settings.sandbox_network,
    )
    handlers.register(
        app.bus,
        sandboxes,
        Templates(app.database, storage, sandboxes),
        CheckoutNews(sandboxes),
        Runs(sandboxes),
        Projects(sandboxes),
        quotas,
        storage,
    )
    desk = DataDesk(app.database)
    ProcessRoutes(desk, runtime).register(app.data)
    FileRoutes(desk, runtime).register(app.data)
    ChangeRoutes(desk, runtime).register(app.data)
    egress = EgressLink(app.database, app.bus, settings.sandboxes)
    PortRoutes(desk, runtime).register(app.data)
    MetricRoutes(desk, runtime, egress.totals).register(app.data)
    app.health.degraded_by["egress"] = lambda: egress.reason
    app.health.degraded_by["limits"] = lambda: _not_enforced(runtime)
    layers = Layers(settings.templates)
    records = Records(secrets, sandboxes.news)
    node = Node(
        app.database,
        app.work,
        runtime,
        name=name,
        instance=settings.instance,
        url=settings.data_address(),
        capacity=settings.sandbox_capacity,
        alive=egress.beat,
    )
    reconciler = Reconciler(
        app.database,
        app.inbox.pending,
        runtime,
        Plans(
            app.database,
            secrets,
            Checkouts(settings.trees),
            layers,
            {
                "memory": settings.sandbox_memory_mb * _MIB,
                "disk": settings.sandbox_disk_mb * _MIB,
                "entries": settings.sandbox_files,
            },
        ),
        layers,
        records,
        storage,
        watch=node.watch,
        node=name,
        wait=settings.sandbox_wait,
    )
    reconciler.register(app.work)
    observer = Observer(app.database, app.work, records, node=name, instance=settings.instance)
    tidying = Tidying(
        app.database,
        secrets,
        sandboxes,
        layers,
        kept_days=settings.sandbox_kept_days,
        paused_kept_days=settings.paused_kept_days,
    )

    async def prepare() -> None:
        await secrets.check()
        egress.start()
        await node.start()
        observer.start()
        runtime.remove_leftovers()

    async def finish() -> None:
        await observer.stop()
        await node.stop()
        await egress.stop()
        await runtime.stop()

    app.prepare, app.finish, app.tidy = prepare, finish, tidying.tidy
    return app


def _not_enforced(runtime: BubblewrapRuntime) -> str | None:
    missing = sorted(set(LIMITS_OF_NODE) - runtime.enforced)
    return f"not enforced on this node: {', '.join(missing)}" if missing else None


def main() -> None:
    run(lambda: build(SandboxSettings()))
