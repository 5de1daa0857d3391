"""Which use case answers which contract."""

from signalbox_catalog.service.applying import Applying
from signalbox_catalog.service.changes import Changes
from signalbox_catalog.service.packages import Packages
from signalbox_catalog.service.projects import Projects
from signalbox_catalog.service.reading import Reading
from signalbox_catalog.service.revealing import Revealing
from signalbox_catalog.service.trees import Trees
from signalbox_catalog.service.watching import Watching
from signalbox_common.bus import ServiceBus
from signalbox_common.contracts import catalog as contract
from signalbox_common.contracts.streams import CATALOG_QUOTAS, PROJECT_BACK, PROJECT_GONE
from signalbox_common.quotas import ProjectQuotas


def register_reads(bus: ServiceBus, reading: Reading, trees: Trees, watching: Watching) -> None:
    bus.on_query(contract.ListKinds)(reading.kinds)
    bus.on_query(contract.GetSchema)(reading.schema)
    bus.on_query(contract.GetResource)(reading.get)
    bus.on_query(contract.ListResources)(reading.page)
    bus.on_query(contract.ListGenerations)(reading.generations)
    bus.on_query(contract.GetGeneration)(reading.generation)
    bus.on_query(contract.ResolveResource)(trees.resolve)
    bus.on_query(contract.ListChanges)(watching.changes)


def register_changes(bus: ServiceBus, changes: Changes, applying: Applying) -> None:
    bus.on_ask(contract.CreateResource, own_transaction=True)(changes.create)
    bus.on_ask(contract.ReplaceResource, own_transaction=True)(changes.replace)
    bus.on_ask(contract.PatchResource, own_transaction=True)(changes.patch)
    bus.on_command(contract.DeleteResource, own_transaction=True)(changes.delete)
    bus.on_command(contract.RestoreResource, own_transaction=True)(changes.restore)
    bus.on_command(contract.RollBackResource, own_transaction=True)(changes.roll_back)
    bus.on_ask(contract.Apply, own_transaction=True)(applying.apply)


def register_keys(bus: ServiceBus, revealing: Revealing) -> None:
    bus.on_ask(contract.RevealKeys, own_transaction=True)(revealing.reveal)


def register_packages(bus: ServiceBus, packages: Packages) -> None:
    bus.on_ask(contract.AttachPackage, own_transaction=True)(packages.attach)
    bus.on_query(contract.GetPackage)(packages.get)


def register_facts(bus: ServiceBus, projects: Projects, quotas: ProjectQuotas) -> None:
    bus.on_fact(PROJECT_GONE)(projects.gone)
    bus.on_fact(PROJECT_BACK)(projects.back)
    bus.on_fact(CATALOG_QUOTAS)(quotas.changed)
