"""A service that writes down what leaves it while it works on something, and kills itself at one of these.

`python -m tests.support.effects SERVICE TRACE [ARROW SIDE]` loads it, and stops itself; continued, it serves.
An arrow is where something happens, what it is, and how many of these there were so far: `run deliver: commit
steps,runs (1)`. It is a commit that has written, a message, a request, the start of a program or a file that
is moved to its place, inside of a job, a handler or the relay. SIDE is `before` or `after`: not yet sent, or
answered and not yet noted. Beats of leases, looks for work and the like are none.
"""

import asyncio
import gc
import importlib
import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client
from nats.js import JetStreamContext
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncTransaction

from signalbox_common import start
from signalbox_common.bus.durable import DurableConsumer
from signalbox_common.bus.requests import RequestServer
from signalbox_common.contracts.base import Ask
from signalbox_common.dataplane import DataServer
from signalbox_common.db import Database
from signalbox_common.outbox import Relay
from signalbox_common.work import Worker

BEFORE, AFTER = "before", "after"
_NAMES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{64}|[0-9a-f]{40}|(?<=/repos/)[^/]+/[^/]+")
_WRITTEN = re.compile(r"(?:insert into|update|delete from)\s+[a-z]+\.([a-z_]+)", re.IGNORECASE)
_ANSWERS = re.compile(r"(^|\.)(reply|_INBOX|_R_)\.")
_READS = ("$JS.API", "$KV", "streams.", "node.")
"""What is looked up in buckets and streams, and hints, are no effects."""
_OPTIONS_OF_GIT = ("-", "git", "prlimit")

place: ContextVar[str | None] = ContextVar("place", default=None)
"""Where it is at; None where nothing is counted."""
_inside: ContextVar[bool] = ContextVar("inside", default=False)


class Ledger:
    def __init__(self, trace: Path, arrow: str | None = None, side: str | None = None) -> None:
        self._trace = trace.open("a", encoding="utf-8", buffering=1)
        self._arrow, self._side = arrow, side
        self._counts: Counter[str] = Counter()

    def begin(self, what: str) -> str | None:
        """The arrow that this is, unless it ends here; None where nothing is counted."""
        where = place.get()
        if where is None or _inside.get():
            return None
        name = _NAMES.sub("…", f"{where}: {what}")
        self._counts[name] += 1
        arrow = f"{name} ({self._counts[name]})"
        self._trace.write(f"{arrow}\n")
        self._die_at(arrow, BEFORE)
        return arrow

    def end(self, arrow: str | None) -> None:
        if arrow is not None:
            self._die_at(arrow, AFTER)

    def ends_after(self, arrow: str | None) -> bool:
        return arrow is not None and (arrow, AFTER) == (self._arrow, self._side)

    def _die_at(self, arrow: str, side: str) -> None:
        if (arrow, side) == (self._arrow, self._side):
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def effect(self, what: str) -> Iterator[None]:
        arrow = self.begin(what)
        token = _inside.set(_inside.get() or arrow is not None)
        try:
            yield
        except Exception:
            self.end(arrow)  # refused, and not heard
            raise
        finally:
            _inside.reset(token)
        self.end(arrow)

    # -- what is counted -----------------------------------------------------------------------------------

    def watch(self) -> None:
        self._watch_database()
        self._watch_bus()
        self._watch_the_rest()

    def _watch_database(self) -> None:
        make, commit = Database.__init__, AsyncTransaction.commit
        ledger = self

        def made(database: Database, *given: Any) -> None:
            make(database, *given)
            ledger._listen(database)

        async def committed(transaction: AsyncTransaction) -> None:
            connection = transaction.connection.sync_connection
            written = connection.info.get("written") if connection is not None else None
            if not written:
                return await commit(transaction)
            with ledger.effect(f"commit {','.join(sorted(written))}"):
                return await commit(transaction)

        _put(Database, "__init__", made)
        _put(AsyncTransaction, "commit", committed)

    def _listen(self, database: Database) -> None:
        @event.listens_for(database.engine.sync_engine, "begin")
        def begun(connection: Any) -> None:
            connection.info["written"] = {}

        @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
        def begins(connection: Any, _cursor: Any, statement: str, _given: Any, context: Any, _m: Any) -> None:
            tables = dict.fromkeys(_WRITTEN.findall(statement))
            context.arrow = None
            if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
                context.arrow = self.begin(f"write {','.join(tables)}") if tables else None
            else:
                connection.info.setdefault("written", {}).update(tables)

        @event.listens_for(database.engine.sync_engine, "after_cursor_execute")
        def ends(_connection: Any, _cursor: Any, _statement: str, _given: Any, context: Any, _m: Any) -> None:
            self.end(context.arrow)

    def _watch_bus(self) -> None:
        publish, request, store = Client.publish, Client.request, JetStreamContext.publish
        ledger = self

        async def published(client: Client, subject: str, *given: Any, **more: Any) -> None:
            what = _called(subject)
            arrow = ledger.begin(what) if what is not None else None
            await publish(client, subject, *given, **more)
            if ledger.ends_after(arrow):
                await client.flush()  # it is on its way only then
            ledger.end(arrow)

        async def requested(client: Client, subject: str, *given: Any, **more: Any) -> Any:
            what = _called(subject)
            if what is None:
                token = _inside.set(True)
                try:
                    return await request(client, subject, *given, **more)
                finally:
                    _inside.reset(token)
            with ledger.effect(what):
                return await request(client, subject, *given, **more)

        async def stored(context: JetStreamContext, subject: str, *given: Any, **more: Any) -> Any:
            with ledger.effect(subject):
                return await store(context, subject, *given, **more)

        _put(Client, "publish", published)
        _put(Client, "request", requested)
        _put(JetStreamContext, "publish", stored)

    def _watch_the_rest(self) -> None:
        send, spawn = httpx.AsyncClient.send, asyncio.create_subprocess_exec
        ledger = self

        async def sent(client: httpx.AsyncClient, request: httpx.Request, **more: Any) -> httpx.Response:
            """Answered: what comes after the head of an answer is read by whoever lives."""
            with ledger.effect(f"{request.method} {request.url.path}"):
                return await send(client, request, **more)

        async def spawned(*argv: Any, **more: Any) -> Any:
            """It runs then, and goes on without us."""
            with ledger.effect(_program(argv)):
                return await spawn(*argv, **more)

        _put(httpx.AsyncClient, "send", sent)
        _put(asyncio, "create_subprocess_exec", spawned)
        for name in ("rename", "replace"):
            setattr(os, name, self._moving(name, getattr(os, name)))

    def _moving(self, name: str, move: Callable[..., None]) -> Callable[..., None]:
        def moved(*given: Any, **more: Any) -> None:
            with self.effect(name):
                move(*given, **more)

        return moved


def _put(owner: object, name: str, value: object) -> None:
    setattr(owner, name, value)


def _called(subject: str) -> str | None:
    """None where that is no effect."""
    if subject.startswith("$JS.ACK"):
        return "ack"
    if subject.startswith(_READS):
        return None
    return "answer" if _ANSWERS.search(subject) else subject


def _program(argv: tuple[Any, ...]) -> str:
    words = [str(word) for word in argv]
    for before, word in zip(["", *words], words, strict=False):
        if before != "-c" and not word.startswith(_OPTIONS_OF_GIT):
            return f"program {Path(word).name}"
    return "program"


# -- where it is ---------------------------------------------------------------------------------------------


def _placed(owner: type, method: str, of: Callable[..., str | None]) -> None:
    original: Callable[..., Awaitable[Any]] = getattr(owner, method)

    async def placed(*given: Any, **more: Any) -> Any:
        token = place.set(of(*given))
        try:
            return await original(*given, **more)
        finally:
            place.reset(token)

    setattr(owner, method, placed)


def watch_places() -> None:
    _placed(Worker, "_run", lambda _self, job: job.kind)
    _placed(Relay, "_publish_in_order", lambda *_: "facts")
    _placed(DurableConsumer, "_consume_one", lambda consumer, *_: consumer.consumer)
    _placed(DurableConsumer, "_settle_all", lambda consumer, *_: consumer.consumer)
    _placed(
        RequestServer,
        "_serve",
        lambda server, message: (
            message.subject if issubclass(server._handlers[message.subject].contract, Ask) else None
        ),
    )
    _placed(
        DataServer,
        "_respond",
        lambda _self, _handler, _held, request, _send: f"{request.method} {request.url.path}",
    )


def watch_runs() -> None:
    """Which step of a run it is."""
    from signalbox_tasks.work.engine import Engine  # noqa: PLC0415 - of one service alone

    following = Engine._next

    async def next_one(engine: Engine, job: Any) -> Any:
        place.set("run")
        turn = await following(engine, job)
        if turn is not None:
            place.set(f"run {turn.step}")
        return turn

    _put(Engine, "_next", next_one)


def watch_keepers(ledger: Ledger) -> None:
    from signalbox_sandbox.runtime import keepers  # noqa: PLC0415 - as above

    ask = keepers._Line.ask

    async def asked(line: Any, request: dict[str, Any], *given: Any, **more: Any) -> Any:
        with ledger.effect(f"keeper {request.get('do', 'keep')}"):
            return await ask(line, request, *given, **more)

    _put(keepers._Line, "ask", asked)


def main() -> None:
    service, trace, *point = sys.argv[1:]
    gc.disable()
    program = importlib.import_module(f"signalbox_{service}.app")
    ledger = Ledger(Path(trace), *point)
    ledger.watch()
    watch_places()
    if service == "tasks":
        watch_runs()
    if service == "sandbox":
        watch_keepers(ledger)
    os.kill(os.getpid(), signal.SIGSTOP)
    start.run(program)


if __name__ == "__main__":
    main()
