"""Composition root of the git service."""

import os
import time

from signalbox_common.addresses import PrivateHosts
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.runtime import Service, run
from signalbox_common.space import DiskSpace
from signalbox_common.storage import ProjectStorage
from signalbox_git import handlers
from signalbox_git.changes import ChangeFiles
from signalbox_git.commits.quarantine import Person
from signalbox_git.data.changes import ChangeRoutes
from signalbox_git.data.contents import ContentRoutes
from signalbox_git.data.diffs import DiffRoutes
from signalbox_git.data.trees import TreeRoutes
from signalbox_git.mirrors.mirrors import Mirrors
from signalbox_git.remotes.access import Reach
from signalbox_git.replies import SCHEMA
from signalbox_git.service.checkouts import Checkouts
from signalbox_git.service.contents import Contents
from signalbox_git.service.deliveries import Deliveries
from signalbox_git.service.diffs import Diffs
from signalbox_git.service.forges import Forges
from signalbox_git.service.given_token import GivenToken
from signalbox_git.service.host_credentials import HostCredentials
from signalbox_git.service.kept_credentials import KeptCredentials
from signalbox_git.service.missing_files import MissingFiles
from signalbox_git.service.operations import Operations
from signalbox_git.service.prober import Prober
from signalbox_git.service.projects import Projects
from signalbox_git.service.pull_requests import PullRequests
from signalbox_git.service.repositories import Repositories
from signalbox_git.service.sources import Sources
from signalbox_git.settings import GitSettings
from signalbox_git.trees.maker import TreeMaker
from signalbox_git.trees.trees import Trees
from signalbox_git.work.deliverer import Deliverer
from signalbox_git.work.fetcher import Fetcher
from signalbox_git.work.housekeeper import Housekeeper
from signalbox_git.work.opener import Opener
from signalbox_git.work.operator import Operator
from signalbox_git.work.preparer import Preparer
from signalbox_git.work.pull_requests import PullRequestWork
from signalbox_git.work.sweeper import Sweeper
from signalbox_git.work.tidying import Tidying

_MIB = 1024 * 1024


def build(settings: GitSettings) -> Service:
    app = Service(settings)
    secrets = app.keep_secrets(settings)
    reach = Reach(settings.git_root, PrivateHosts.parse(settings.private_hosts), settings.git_ca_file)
    mirrors = Mirrors(
        settings.mirrors,
        reach,
        budget=settings.mirrors_mb * _MIB,
        fetch_within=settings.fetch_timeout,
        largest=settings.repository_mb * _MIB,
        partial_above=settings.partial_mb * _MIB or None,
        space=DiskSpace(settings.mirrors, settings.disk_least_free),
    )
    quotas = ProjectQuotas(SCHEMA, settings.limits())
    storage = ProjectStorage(SCHEMA, quotas)
    sources = Sources(app.database, secrets)
    forges = Forges(reach)
    kept = KeptCredentials(app.database, secrets, secret_key=settings.secret_key.get_secret_value())
    repositories = Repositories(app.database, app.work, kept, storage)
    hosts = HostCredentials(app.database, kept, sources, forges)
    missing = MissingFiles(mirrors, sources)
    contents = Contents(
        app.database,
        app.work,
        mirrors,
        missing,
        url=settings.data_address(),
        freshness=settings.mirror_freshness,
    )
    changes = ChangeFiles(settings.changes)
    deliveries = Deliveries(app.database, app.work, changes, app.space)
    handlers.register(
        app.bus,
        repositories,
        Prober(app.database, mirrors, sources),
        contents,
        Checkouts(app.database, app.work, app.space),
        deliveries,
        PullRequests(app.database, app.work),
        hosts,
        Projects(),
        quotas,
        storage,
    )
    handlers.register_operations(app.bus, Operations(app.database, app.work, app.space))
    ContentRoutes(contents).register(app.data)
    ChangeRoutes(deliveries, changes).register(app.data)
    DiffRoutes(Diffs(app.database, mirrors, missing, changes)).register(app.data)
    fetcher = Fetcher(app.database, mirrors, sources, storage, clock=time.time)
    fetcher.register(app.work)
    uid = settings.sandbox_uid if os.geteuid() == 0 else None
    trees = Trees(settings.trees, TreeMaker(uid, settings.checkout_mb * _MIB))
    TreeRoutes(app.database, trees).register(app.data)
    Preparer(app.database, mirrors, trees, sources, fetcher, freshness=settings.prepare_freshness).register(
        app.work
    )
    committer = Person(settings.committer_name, settings.committer_email)
    Deliverer(
        app.database,
        mirrors,
        sources,
        changes,
        forges,
        Opener(app.work),
        committer=committer,
        clock=time.time,
    ).register(app.work)
    Operator(app.database, mirrors, sources, fetcher, app.bus, committer=committer, clock=time.time).register(
        app.work
    )
    PullRequestWork(app.database, app.work, sources, forges).register()
    sweeper = Sweeper(app.database, trees, kept=settings.checkout_kept, every=settings.checkout_sweep)
    housekeeper = Housekeeper(
        app.database,
        mirrors,
        settings.mirrors,
        every=settings.mirror_upkeep,
        idle=settings.mirror_idle,
    )
    tidying = Tidying(
        app.database, secrets, mirrors, settings.mirrors, changes, kept_days=settings.repositories_kept_days
    )

    given = GivenToken(app.database, app.bus, kept, hosts, sources, settings.github_token)

    async def prepare() -> None:
        await secrets.check()
        sweeper.start()
        housekeeper.start()
        given.start()

    async def finish() -> None:
        await given.stop()
        await housekeeper.stop()
        await sweeper.stop()

    app.prepare, app.finish, app.tidy = prepare, finish, tidying.tidy
    return app


def main() -> None:
    run(lambda: build(GitSettings()))
