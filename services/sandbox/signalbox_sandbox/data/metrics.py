"""What a sandbox uses, asked of its keeper and of the role `egress`."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from starlette.responses import Response

from signalbox_common.contracts import sandbox as contract
from signalbox_common.dataplane import DataRequest, DataServer
from signalbox_sandbox.data.desk import DataDesk, answered
from signalbox_sandbox.runtime.base import Runtime


class MetricRoutes:
    def __init__(
        self, desk: DataDesk, runtime: Runtime, totals: Callable[[uuid.UUID], Awaitable[dict[str, int]]]
    ) -> None:
        self._desk = desk
        self._runtime = runtime
        self._totals = totals

    def register(self, server: DataServer) -> None:
        server.on(contract.MEASURE)(self._measure)

    async def _measure(self, request: DataRequest) -> Response:
        sandbox = await self._desk.sandbox(request)
        async with self._desk.asking(sandbox):
            said = await self._runtime.ask(sandbox, "measure")
        network = await self._totals(sandbox)
        return answered(
            contract.SandboxMetrics(
                at=datetime.now(UTC),
                cpu_seconds=said["cpu"],
                memory_bytes=said["memory"],
                disk_bytes=said["disk"],
                disk_entries=said["entries"],
                processes=said["processes"],
                network=contract.NetworkTotals(
                    connections=network["connections"],
                    denied=network["denied"],
                    sent_bytes=network["sent"],
                    received_bytes=network["received"],
                ),
            )
        )
