"""One engine per service, its transactions, and what counts as the database being away."""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from signalbox_common import telemetry
from signalbox_common.errors import SignalboxError
from signalbox_common.settings import OwnerSettings

log = telemetry.get_logger()

# Server shutdown, crash and start-up, connection failures: the server's word for "come back later".
_OUTAGE_STATES = ("08", "57P01", "57P02", "57P03", "53300")
_ABOUT_FILES = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
_RETRY_STATES = ("40001", "40P01", "55P03")
_UNIQUE = "23505"


class CommitUncertain(Exception):
    """The connection was lost while the commit was on its way: it may have happened, or not."""


class Transaction:
    """An open transaction, and on whose behalf it changes things."""

    def __init__(
        self, connection: AsyncConnection, *, actor: uuid.UUID | None = None, operation: str | None = None
    ) -> None:
        self.connection = connection
        self.actor = actor
        self.actor_name: str | None = None
        """Set with `actor` by a request that finds out itself whom it is for: signing in."""
        self.operation = operation
        self.facts: list[dict[str, Any]] = []
        """What goes into the outbox, in its order."""
        self.before_commit: Callable[[], Awaitable[None]] | None = None
        """Writes what is left to write, while all that was locked is still locked."""
        self.emitted = False
        self.after_commit: list[Callable[[], Awaitable[None]]] = []
        """What is done once it is true, and may be lost with the process: waking, answering."""


class Database:
    """The service's own schema, through its own role."""

    def __init__(self, settings: OwnerSettings) -> None:
        url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+asyncpg")
        self.schema = settings.service
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=settings.db_pool_size,
            max_overflow=settings.db_pool_overflow,
            pool_timeout=settings.db_pool_timeout,
            pool_recycle=1800,
            pool_use_lifo=True,
            hide_parameters=True,  # they would stand in every log line about an error
            connect_args={
                "timeout": 3,
                "command_timeout": 15,
                "server_settings": {
                    "application_name": f"signalbox-{settings.service}",
                    "idle_in_transaction_session_timeout": "30000",
                },
            },
        )
        self._reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self.after_emit: Callable[[], None] = lambda: None
        """Called after the commit of a transaction that put something into the outbox."""
        _record_slow_statements(self.engine, settings.db_slow_query)

    @asynccontextmanager
    async def transaction(
        self, *, actor: uuid.UUID | None = None, operation: str | None = None
    ) -> AsyncIterator[Transaction]:
        async with self.engine.connect() as connection:
            begun = await connection.begin()
            transaction = Transaction(connection, actor=actor, operation=operation)
            try:
                yield transaction
                if transaction.before_commit is not None:
                    await transaction.before_commit()
            except BaseException:
                with suppress(Exception):  # a connection that is gone has rolled back
                    await begun.rollback()
                raise
            try:
                await begun.commit()
            except Exception as error:
                if is_outage(error):
                    raise CommitUncertain from error
                raise
        if transaction.emitted:
            self.after_emit()
        for follow in transaction.after_commit:
            try:
                await follow()
            except Exception as error:  # noqa: BLE001 - it is committed: whoever waits finds it out by asking
                log.warning("not told after the commit", reason=repr(error)[:300])

    @asynccontextmanager
    async def trial(self) -> AsyncIterator[Transaction]:
        """A transaction that is taken back in any case."""
        async with self.engine.connect() as connection:
            begun = await connection.begin()
            try:
                yield Transaction(connection)
            finally:
                with suppress(Exception):  # a connection that is gone has rolled back
                    await begun.rollback()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for single statements, without the round trips of a transaction."""
        async with self._reading.connect() as connection:
            yield connection

    async def check(self) -> None:
        async with self.reading() as connection:
            await connection.execute(text("select 1"))

    async def close(self) -> None:
        await self.engine.dispose()


def is_outage(error: BaseException) -> bool:
    """Whether the database, not our code or the request, is the reason."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:  # one may be the cause of itself
        if _says_outage(link):
            return True
        seen.add(id(link))
        link = link.__cause__
    return False


def _says_outage(error: BaseException) -> bool:
    match error:
        case DBAPIError():
            state = _state(error)
            unreachable = isinstance(error, InterfaceError | OperationalError) and not state
            return error.connection_invalidated or unreachable or state.startswith(_OUTAGE_STATES)
        case asyncpg.PostgresError():
            return (error.sqlstate or "").startswith(_OUTAGE_STATES)
        case PoolTimeout() | asyncpg.InterfaceError():
            return True
        case OSError():
            return not isinstance(error, _ABOUT_FILES)
        case _:
            return False


def is_contention(error: BaseException) -> bool:
    """Whether another transaction was merely in the way."""
    return isinstance(error, DBAPIError) and _state(error).startswith(_RETRY_STATES)


def is_there_already(error: BaseException) -> bool:
    """Whether something has that key."""
    return isinstance(error, IntegrityError) and _state(error) == _UNIQUE


async def write_unique(
    transaction: Transaction, statement: Any, values: dict[str, Any], refusal: type[SignalboxError]
) -> None:
    """Raises the refusal where another one has that key, and leaves the transaction as it was."""
    try:
        async with transaction.connection.begin_nested():
            await transaction.connection.execute(statement, values)
    except IntegrityError as error:
        if is_there_already(error):
            raise refusal from error
        raise


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")


def _record_slow_statements(engine: AsyncEngine, limit: float) -> None:
    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _start(
        _connection: Any, _cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        context.signalbox_started = time.perf_counter()

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def _end(
        _connection: Any, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        seconds = time.perf_counter() - context.signalbox_started
        if seconds >= limit:
            telemetry.SLOW_QUERIES.inc()
            log.warning(
                "slow query",
                seconds=round(seconds, 4),
                statement=" ".join(statement.split())[:500],
                project_id=telemetry.project_id.get(),
            )
