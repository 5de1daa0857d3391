"""The serving side of the bus: contracts in, handlers behind them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from signalbox_common.bus.audit import AuditTrail
from signalbox_common.bus.calls import Call, FactHandler, FactsHandler, Handler
from signalbox_common.bus.client import Bus
from signalbox_common.bus.commands import CommandConsumer, answer
from signalbox_common.bus.durable import DurableConsumer
from signalbox_common.bus.facts import FactConsumer, one_by_one
from signalbox_common.bus.redrive import RedriveConsumer
from signalbox_common.bus.requests import RequestServer
from signalbox_common.bus.wakeups import WakeUps
from signalbox_common.contracts.base import Ask, Command, Query, consumer_of
from signalbox_common.contracts.operations import GetOperation, OperationReport, OperationStatus
from signalbox_common.contracts.streams import COMMANDS
from signalbox_common.contracts.streams import FactConsumer as FactRow
from signalbox_common.db import Database
from signalbox_common.errors import Unavailable
from signalbox_common.inbox import Inbox
from signalbox_common.outbox import Relay
from signalbox_common.principal import GrantVerifier
from signalbox_common.settings import OwnerSettings

STREAM_PATIENCE = 5.0
IN_FLIGHT = timedelta(seconds=15)
"""How long a command that nobody knows may still be on its way."""


class ServiceBus(Bus):
    """The bus as a service that owns data uses it."""

    def __init__(
        self,
        settings: OwnerSettings,
        database: Database,
        inbox: Inbox,
    ) -> None:
        super().__init__(settings)
        self._owner = settings
        self._database = database
        self._inbox = inbox
        self.grants = GrantVerifier(self.keys, self.revoked, settings.service)
        self._audit = AuditTrail(database)
        self._requests = RequestServer(
            self.connection,
            settings.service,
            grants=self.grants,
            inbox=inbox,
            audit=self._audit,
            concurrency=settings.request_concurrency,
        )
        self._durable: dict[str, CommandConsumer | FactConsumer] = {}
        self._consumers: list[DurableConsumer] = []
        self.wakeups = WakeUps(self.connection, settings)
        self.relay = Relay(database, self.store_event, settings.instance)
        self.connection.on_reconnect.add(self.relay.wake)  # it may have waited for NATS alone
        database.after_emit = self.relay.wake
        inbox.pending.answer = partial(answer, self.connection)
        self._requests.add(GetOperation, self._operation)

    # -- what handlers register with ---------------------------------------------------------------

    def on_query(self, contract: type[Query[Any]]) -> Callable[[Handler], Handler]:
        return self._on_request(contract)

    def on_ask(
        self, contract: type[Ask[Any]], *, own_transaction: bool = False
    ) -> Callable[[Handler], Handler]:
        return self._on_request(contract, own_transaction=own_transaction)

    def on_command(
        self, contract: type[Command[Any]], *, own_transaction: bool = False
    ) -> Callable[[Handler], Handler]:
        """The handler finds `call.transaction` open; with `own_transaction` it ends with `call.once`."""

        def register(handler: Handler) -> Handler:
            consumer = CommandConsumer(
                self.connection,
                self._owner,
                self._inbox,
                contract,
                handler,
                grants=self.grants,
                audit=self._audit,
                own_transaction=own_transaction,
            )
            self._durable[consumer.consumer] = consumer
            return handler

        return register

    def on_fact(self, row: FactRow) -> Callable[[FactHandler], FactHandler]:
        def register(handler: FactHandler) -> FactHandler:
            self.on_facts(row)(one_by_one(handler))
            return handler

        return register

    def on_facts(self, row: FactRow, *, linger: float = 0.0) -> Callable[[FactsHandler], FactsHandler]:
        """The handler takes all that have come together; with `linger`, the first waits for others."""

        def register(handler: FactsHandler) -> FactsHandler:
            self._durable[row.name] = FactConsumer(
                self.connection,
                self._owner,
                self._inbox,
                row,
                handler,
                database=self._database,
                linger=linger,
            )
            return handler

        return register

    def _on_request(
        self, contract: type[Ask[Any]] | type[Query[Any]], *, own_transaction: bool = False
    ) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self._requests.add(contract, handler, own_transaction=own_transaction)
            return handler

        return register

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        await super().start()
        redrive = RedriveConsumer(self.connection, self._owner, self._inbox, self._durable, self._audit)
        self._consumers = [*self._durable.values(), redrive]
        for consumer in self._consumers:
            consumer.subscribe()
        await self._requests.start()
        await self.connection.broker.start()
        for consumer in self._consumers:
            consumer.start()
        self.relay.start()

    async def stop(self) -> None:
        """Takes nothing new, finishes what is held, and publishes what that has put into the outbox."""
        grace = self.settings.shutdown_grace
        await self._requests.stop(grace)
        await asyncio.gather(*(consumer.stop(grace) for consumer in self._consumers))
        await self.relay.flush()
        await self.relay.stop()
        await super().stop()

    # -- what every owner answers ------------------------------------------------------------------

    async def _operation(self, _call: Call, query: GetOperation) -> OperationReport:
        found = await self._inbox.report(query.command_id)
        if found is None and await self._nothing_waits(query):
            # It may have been handled between our two looks.
            found = await self._inbox.report(query.command_id)
            if found is None:
                return OperationReport(status=OperationStatus.NOT_ACCEPTED, command=query.command)
        return found or OperationReport(status=OperationStatus.PENDING, command=query.command)

    async def _nothing_waits(self, query: GetOperation) -> bool:
        if datetime.now(UTC) - query.accepted_before < IN_FLIGHT:
            return False
        consumer = consumer_of(query.command)
        if consumer not in self._durable:
            return True
        said = await self.connection.ask_jetstream(
            f"CONSUMER.INFO.{COMMANDS.name}.{consumer}", patience=STREAM_PATIENCE
        )
        if "error" in said:
            raise Unavailable("The command stream cannot be asked.")
        return not said["num_pending"] and not said["num_ack_pending"]
