"""Brings the whole stack up, keeps it up, and takes it down again."""

import asyncio
import importlib
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rich.console import Console

from signalbox_cli.secret_files import write_secret
from signalbox_cli.stack import leftovers, sandboxes
from signalbox_cli.stack.child import Child
from signalbox_cli.stack.console import LogView
from signalbox_cli.stack.disk import DiskWatch
from signalbox_cli.stack.forkserver import ForkServer
from signalbox_cli.stack.home import MARK, Home
from signalbox_cli.stack.modules import AT_FIRST_USE, MODULES, PROVISION
from signalbox_cli.stack.processes import Launch, execute
from signalbox_cli.stack.program import Program, Sockets, is_free

if TYPE_CHECKING:
    from signalbox_cli.stack.servers import Nats, Postgres, Servers, Valkey

START_PATIENCE = 60.0
START_DEATHS = 5


class StartFailed(Exception):
    """Says in one sentence what did not start."""


class Supervisor:
    """One stack in one home; the home's lock is held by the caller."""

    def __init__(self, home: Home, *, host: str, port: int, console: Console, show: bool = True) -> None:
        self.home = home
        self._host = host
        self._port = port
        self._view = LogView(console, home.logs, quiet=not show)
        self._children: dict[str, Child] = {}
        self._sockets = Sockets()
        self._forkserver = ForkServer([PROVISION, AT_FIRST_USE, *MODULES.values()])
        self._servers: Servers | None = None
        self._phase = "starting"
        self._url: str | None = None
        self._takes_over = False
        self._stop = asyncio.Event()
        self._began = time.monotonic()

    async def run(self, *, on_ready: Callable[["Supervisor"], None]) -> None:
        """Returns when everything is stopped again; raises StartFailed where it does not come up."""
        os.environ[MARK] = self.home.mark  # for whatever we start
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        self._takes_over = self.home.read_state() is not None  # whoever stops takes it away
        self._save()  # whoever looks now must see us, and not what was here before
        viewing = asyncio.create_task(self._show_logs())
        disk = DiskWatch(self.home, self._children.values, self._view.file, self._view.say)
        watching = asyncio.create_task(disk.run())
        try:
            ended = await asyncio.to_thread(leftovers.end, self.home)
            if ended:
                self._view.say(f"cleaned up {ended} processes of a stack that was killed", "yellow")
            starting = asyncio.create_task(self._start())
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._phase = "ready"
                self._save()
                on_ready(self)
                await stopping
            else:
                starting.cancel()
                with suppress(asyncio.CancelledError):
                    await starting
            stopping.cancel()
        finally:
            watching.cancel()
            await self._take_down()
            viewing.cancel()
            self._view.show_new()

    @property
    def url(self) -> str:
        return self._url or ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    # -- up ----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._add(self._forkserver.program(), self._forkserver.start)  # first: it imports for longest
        # These import the contracts, in a thread, so that we go on hearing meanwhile.
        await asyncio.to_thread(importlib.import_module, "signalbox_cli.stack.servers")
        from signalbox_cli.stack.servers import MissingServer
        from signalbox_cli.stack.services import BadSetting

        try:
            await self._bring_up()
        except (MissingServer, BadSetting) as error:
            raise StartFailed(str(error)) from None

    async def _bring_up(self) -> None:
        from signalbox_cli.provision import credentials as files
        from signalbox_cli.stack import services
        from signalbox_cli.stack.servers import Servers

        instances = services.wanted_instances()
        try:
            gateway_fd, port = self._sockets.listen(self._port or self._port_before(), self._host)
        except OSError as error:
            raise StartFailed(
                f"port {self._port} is taken ({error.strerror}): "
                "set SIGNALBOX_PORT to another one, or to 0 for any free one"
            ) from error
        self._url = f"http://{self._host}:{port}"
        write_secret(self.home.url_file, self._url)
        self.home.url_file.chmod(0o644)
        secrets = self.home.credentials / "secrets.json"
        credentials = files.Credentials.load_or_make(secrets)
        write_secret(self.home.admin_password_file, credentials.admin_password)
        servers = self._servers = Servers.plan(self.home.data, credentials)
        await asyncio.gather(*map(self._start_server, servers.own))
        folder = self.home.credentials
        files.write_service_files(folder, credentials, servers.endpoints)
        files.write_operator_files(folder, credentials, servers.endpoints, servers.postgres_admin_url)
        await self._all_ready("server")
        await self._provision(secrets, servers)
        for program in services.programs(
            self.home, self._sockets, servers.endpoints, gateway_fd=gateway_fd, instances=instances
        ):
            self._add(program, execute if program.argv else self._forkserver.launch)
        await self._all_ready("service")

    def _port_before(self) -> int:
        """Of a supervisor that was killed: people know the stack by it. Any free one where that is taken."""
        try:
            known = urlsplit(self.home.url_file.read_text(encoding="utf-8")).port or 0
        except (OSError, ValueError):
            return 0
        return known if self._takes_over and is_free(known) else 0

    async def _start_server(self, server: "Postgres | Valkey | Nats") -> None:
        await asyncio.to_thread(server.prepare)
        self._add(server.program(), execute)

    async def _provision(self, secrets: Path, servers: "Servers") -> None:
        environment = {
            "SIGNALBOX_PROVISION_SECRETS": str(secrets),
            "DATABASE_URL": servers.postgres_admin_url,
            "NATS_URL": servers.nats_admin_url,
        }
        log = self._view.file("provision")
        log.unlink(missing_ok=True)
        try:
            process = await self._forkserver.fork(PROVISION, log, environment=environment)
        except OSError as error:
            raise StartFailed(f"the servers cannot be provisioned: {error}") from None
        try:
            code = await process.exit_code()
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if code != 0:
            raise StartFailed(f"{said[-1] if said else 'provisioning was ended'}; see {log}")
        for change in said:
            self._view.say(change, "dim")

    def _add(self, program: Program, launch: Launch) -> None:
        self._view.skip_to_end(program.name)
        child = Child(
            program,
            self.home,
            self._view.file(program.name),
            launch=launch,
            changed=self._save,
            say=self._view.say,
        )
        self._children[program.name] = child
        child.start()

    async def _all_ready(self, kind: str) -> None:
        waiting = [child for child in self._children.values() if child.program.kind == kind]
        deadline = time.monotonic() + START_PATIENCE
        while not all(child.ready.is_set() for child in waiting):
            hopeless = [child for child in waiting if child.restarts > START_DEATHS]
            if hopeless:
                names = ", ".join(child.program.name for child in hopeless)
                raise StartFailed(f"{names} cannot start; see the log above and {self.home.logs}")
            if time.monotonic() > deadline:
                names = ", ".join(child.program.name for child in waiting if not child.ready.is_set())
                raise StartFailed(f"not ready after {START_PATIENCE:.0f} s: {names}")
            await asyncio.sleep(0.02)

    # -- down --------------------------------------------------------------------------------------

    async def _take_down(self) -> None:
        """The edge first, then the services, then what they stand on."""
        self._phase = "stopping"
        self._save()
        await self._stop_all(_is_edge)
        await asyncio.to_thread(sandboxes.end_all, self.home)  # while their role is there to clear up
        await self._stop_all(_is_service)
        await asyncio.to_thread(sandboxes.end_all, self.home)  # that were begun meanwhile
        await self._stop_all(_is_other)
        await asyncio.to_thread(leftovers.end, self.home)
        self._forkserver.close()
        self._sockets.close()
        if self._servers is not None:
            self._servers.close()
        self.home.state_file.unlink(missing_ok=True)

    async def _stop_all(self, group: Callable[[Child], bool]) -> None:
        stopping = (child.stop() for child in self._children.values() if group(child))
        await asyncio.gather(*stopping, return_exceptions=True)  # what fails is a leftover

    # -- telling -----------------------------------------------------------------------------------

    async def _show_logs(self) -> None:
        while True:
            self._view.show_new()
            await asyncio.sleep(self._view.pause)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "phase": self._phase,
            "pid": os.getpid(),
            "url": self._url,
            "services": self._described("service"),
            "servers": self._described("server"),
            "forkserver": next(iter(self._described("forkserver")), None),
        }
        try:
            self.home.write_state(state)
        except OSError as error:  # a full disk must not stop us from keeping things running
            self._view.say(f"the state cannot be written: {error}", "yellow")

    def _described(self, kind: str) -> list[dict[str, Any]]:
        return [child.describe() for child in self._children.values() if child.program.kind == kind]


def _is_edge(child: Child) -> bool:
    return child.program.is_edge


def _is_service(child: Child) -> bool:
    return child.program.kind == "service" and not child.program.is_edge


def _is_other(child: Child) -> bool:
    return child.program.kind != "service"
