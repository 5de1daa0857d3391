"""Which use case answers which contract."""

from signalbox_common.bus import ServiceBus
from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.streams import (
    SANDBOXES_BACK,
    SANDBOXES_END,
    SANDBOXES_GONE,
    SANDBOXES_STOP,
)
from signalbox_sandbox.service import Sandboxes


def register(bus: ServiceBus, sandboxes: Sandboxes) -> None:
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
    bus.on_command(contract.KeepTemplate)(sandboxes.keep_template)
    bus.on_query(contract.ListTemplates)(sandboxes.templates)
    bus.on_query(contract.GetTemplate)(sandboxes.template)
    bus.on_command(contract.DeleteTemplate)(sandboxes.delete_template)
    bus.on_fact(SANDBOXES_GONE)(sandboxes.project_gone)
    bus.on_fact(SANDBOXES_BACK)(sandboxes.project_back)
    bus.on_fact(SANDBOXES_STOP)(sandboxes.run_stops)
    bus.on_fact(SANDBOXES_END)(sandboxes.run_ended)
