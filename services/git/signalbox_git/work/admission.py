"""Whether what was noticed stops a delivery, as whoever asked for it and the repository's policy have it."""

from signalbox_common.contracts.git import DeliveryState, Finding
from signalbox_git.domain import Delivery
from signalbox_git.work.delivery_journal import CannotDeliver


def admitted(
    found: Delivery, workflows: tuple[Finding, ...], others: tuple[Finding, ...]
) -> tuple[Finding, ...]:
    """What is told with it; raises CannotDeliver."""
    if workflows and found.wanted["workflow_files"] != "allow":
        raise CannotDeliver(
            DeliveryState.REFUSED,
            "workflow_files",
            "The changes are about files that a forge runs with rights of its own.",
            found=workflows,
        )
    allowed = found.wanted["findings"] == "allow" or found.policy.findings == "warn"
    if others and not allowed:
        raise CannotDeliver(
            DeliveryState.REFUSED,
            "findings",
            "Somebody should look at this before it leaves.",
            found=others,
        )
    return (*workflows, *others)
