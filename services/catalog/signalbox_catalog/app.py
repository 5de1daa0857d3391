"""Composition root of the catalog service."""

from datetime import timedelta

from signalbox_catalog import handlers
from signalbox_catalog.service.access import AccessResolver
from signalbox_catalog.service.applying import Applying
from signalbox_catalog.service.changes import Changes
from signalbox_catalog.service.packages import Packages
from signalbox_catalog.service.projects import Projects
from signalbox_catalog.service.quotas import CatalogQuotas
from signalbox_catalog.service.reading import Reading
from signalbox_catalog.service.revealing import Revealing
from signalbox_catalog.service.tidying import Tidying
from signalbox_catalog.service.trees import Trees
from signalbox_catalog.service.vault import Vault
from signalbox_catalog.service.watching import Watching
from signalbox_catalog.settings import CatalogSettings
from signalbox_catalog.store.tables import SCHEMA
from signalbox_common.bus.objects import Bucket
from signalbox_common.contracts.streams import PACKAGES
from signalbox_common.limiter import ProjectLimiter
from signalbox_common.outcomes import Checkpoint, no_checkpoint
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.runtime import Service, run


def build(settings: CatalogSettings, *, checkpoint: Checkpoint = no_checkpoint) -> Service:
    app = Service(settings, checkpoint=checkpoint)
    secret_key = settings.secret_key.get_secret_value()
    store = app.keep_secrets(settings)
    bucket = Bucket(app.bus.connection, PACKAGES)
    vault = Vault(store, secret_key)
    access = AccessResolver(app.bus)
    handlers.register_reads(
        app.bus, Reading(app.database), Trees(app.database, access), Watching(app.database)
    )
    limiter = ProjectLimiter()
    known_quotas = ProjectQuotas(SCHEMA, settings.limits())
    quotas = CatalogQuotas(known_quotas)
    packages = Packages(app.database, bucket, vault, quotas, limiter)
    handlers.register_changes(
        app.bus,
        Changes(app.database, vault, quotas, access, limiter),
        Applying(app.database, vault, quotas, access, limiter, packages),
    )
    handlers.register_keys(app.bus, Revealing(app.database, vault, access))
    handlers.register_packages(app.bus, packages)
    handlers.register_facts(app.bus, Projects(), known_quotas)
    tidying = Tidying(
        app.database,
        store,
        bucket,
        deleted_kept=timedelta(days=settings.deleted_kept_days),
        history_kept=timedelta(days=settings.history_kept_days),
    )
    app.tidy = tidying.tidy
    return app


def main() -> None:
    run(lambda: build(CatalogSettings()))
