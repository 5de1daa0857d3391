"""Which use case answers which contract."""

from signalbox_common.bus import ServiceBus
from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.streams import (
    SANDBOX_QUOTAS,
    SANDBOX_STORAGE,
    SANDBOXES_BACK,
    SANDBOXES_BEGIN,
    SANDBOXES_END,
    SANDBOXES_GONE,
    SANDBOXES_STOP,
)
from signalbox_common.quotas import ProjectQuotas
from signalbox_common.storage import ProjectStorage
from signalbox_sandbox.service.checkouts import CheckoutNews
from signalbox_sandbox.service.projects import Projects
from signalbox_sandbox.service.runs import Runs
from signalbox_sandbox.service.sandboxes import Sandboxes
from signalbox_sandbox.service.templates import Templates


def register(
    bus: ServiceBus,
    sandboxes: Sandboxes,
    templates: Templates,
    checkouts: CheckoutNews,
    runs: Runs,
    projects: Projects,
    quotas: ProjectQuotas,
    storage: ProjectStorage,
) -> None:
    bus.on_ask(contract.CreateSandbox, own_transaction=True)(sandboxes.create)
    bus.on_query(contract.GetSandbox)(sandboxes.get)
    bus.on_query(contract.ListSandboxes)(sandboxes.page)
    bus.on_query(contract.FindSandbox)(sandboxes.place)
    bus.on_query(contract.LocateSandbox)(sandboxes.locate)
    bus.on_command(contract.PauseSandbox)(sandboxes.pause)
    bus.on_command(contract.ResumeSandbox)(sandboxes.resume)
    bus.on_command(contract.DestroySandbox)(sandboxes.destroy)
    bus.on_command(contract.SetSandboxDeadline)(sandboxes.set_deadline)
    bus.on_command(contract.SetSandboxNetwork)(sandboxes.set_network)
    bus.on_command(contract.KeepTemplate)(templates.keep)
    bus.on_query(contract.ListTemplates)(templates.every)
    bus.on_query(contract.GetTemplate)(templates.get)
    bus.on_command(contract.DeleteTemplate)(templates.delete)
    bus.on_fact(SANDBOXES_GONE)(projects.gone)
    bus.on_fact(SANDBOXES_BACK)(projects.back)
    bus.on_fact(SANDBOXES_BEGIN)(checkouts.changed)
    bus.on_fact(SANDBOXES_STOP)(runs.stops)
    bus.on_fact(SANDBOXES_END)(runs.ended)
    bus.on_fact(SANDBOX_QUOTAS)(quotas.changed)
    bus.on_fact(SANDBOX_STORAGE)(storage.heard)
