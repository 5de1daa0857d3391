"""Checkouts of repositories, for sandboxes that begin with one."""

import asyncio
import uuid
from collections.abc import Callable

from signalbox_common.contracts import git
from signalbox_common.contracts.git import CheckoutState
from signalbox_common.contracts.sandbox import SandboxWorkspace
from signalbox_gateway.errors import CheckoutFailed
from signalbox_gateway.routes.here import Sender

PREPARING = (git.Prepare, git.GetRepository, git.GetCheckout)
"""What a route sends that has one prepared."""
FAILS = ((409, CheckoutFailed.code),)
_WAIT, _LOOK = 3.0, 0.05
"""Seconds in which most are ready; a sandbox waits for the others."""


async def prepared(
    here: Sender, repository: str | None, asked: Callable[[uuid.UUID], git.Prepare]
) -> SandboxWorkspace | None:
    """Raises where there is nothing to begin with."""
    if repository is None:
        return None
    found = await here.value(named(repository))
    checkout = await here.done(asked(found.id))
    ends = asyncio.get_running_loop().time() + _WAIT
    while checkout.state is CheckoutState.PREPARING and asyncio.get_running_loop().time() < ends:
        await asyncio.sleep(_LOOK)
        checkout = await here.value(git.GetCheckout(checkout=checkout.checkout))
    if checkout.state is CheckoutState.FAILED:
        raise CheckoutFailed(checkout.error.detail if checkout.error is not None else None)
    return SandboxWorkspace(
        checkout=checkout.checkout,
        repository=found.id,
        commit=checkout.commit,
        branch=checkout.branch,
        url=found.url,
    )


def named(repository: str) -> git.GetRepository:
    """By its id, or else by its name."""
    try:
        return git.GetRepository(repository=uuid.UUID(repository))
    except ValueError:
        return git.GetRepository(name=repository)
