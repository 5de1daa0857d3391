"""What a sandbox is to begin with: its tree, its template, its environment, its limits."""

import json
from collections.abc import Mapping

from signalbox_common.db import Database
from signalbox_common.secrets import SecretStore
from signalbox_sandbox.checkouts import Checkouts
from signalbox_sandbox.domain import Sandbox
from signalbox_sandbox.keeper import box
from signalbox_sandbox.layers import Layers
from signalbox_sandbox.replies import secret_name
from signalbox_sandbox.runtime.base import SandboxPlan
from signalbox_sandbox.store import checkouts, templates


class NotThere(Exception):
    """A part of it is not on this node, or not yet."""

    def __init__(self, what: str, *, never: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.never = never
        """Whether it is not waited for."""


class Plans:
    def __init__(
        self,
        database: Database,
        secrets: SecretStore,
        checkouts: Checkouts,
        layers: Layers,
        usual: Mapping[str, float | None],
    ) -> None:
        """`usual` are the limits of a sandbox for which nobody has said others, as the node knows them."""
        self._database = database
        self._secrets = secrets
        self._checkouts = checkouts
        self._layers = layers
        self._usual = usual

    async def make(self, sandbox: Sandbox) -> SandboxPlan:
        """Raises NotThere."""
        lower = layer = None
        if sandbox.checkout is not None:
            lower = self._checkouts.find(sandbox.project_id, sandbox.checkout)
            if lower is None:
                async with self._database.reading() as connection:
                    raise NotThere("checkout", never=await checkouts.has_failed(connection, sandbox.checkout))
        if sandbox.layer is not None:
            layer = self._layers.find(sandbox.project_id, sandbox.layer)
            if layer is None:
                raise NotThere("template", never=True)
        return SandboxPlan(
            sandbox.id,
            sandbox.epoch,
            sandbox.lifetime,
            limits={**self._usual, **sandbox.node_limits()},
            env=await self._of_template(sandbox) | await self._env(sandbox),
            lower=lower,
            layer=layer,
            builds=sandbox.builds,
            stopping=sandbox.stopping,
            network=sandbox.network,
            doors=sandbox.doors,
        )

    async def _of_template(self, sandbox: Sandbox) -> dict[str, str]:
        path = {"PATH": f"{box.PREFIX}/bin:{box.ENVIRONMENT['PATH']}"}
        if sandbox.layer is None:
            return path if sandbox.builds else {}
        async with self._database.reading() as connection:
            found = await templates.of_layer(connection, sandbox.layer)
        return path | dict(found.env if found is not None else {})

    async def _env(self, sandbox: Sandbox) -> dict[str, str]:
        if not sandbox.has_env:
            return {}
        secret = await self._secrets.get(secret_name(sandbox.id))
        env: dict[str, str] = json.loads(secret.value)
        return env
