"""One supervised process: started, watched, restarted when it dies, stopped when told."""

import asyncio
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from signalbox_cli.stack import leftovers
from signalbox_cli.stack.home import Home
from signalbox_cli.stack.processes import Launch, Process
from signalbox_cli.stack.program import Program

MANY_DEATHS, WITHIN = 3, 10.0
LONGEST_PAUSE = 2.0
READY_POLL = 0.05
WATCH_EVERY = 5.0
SILENT_POLL = 1.0
HANGS_AFTER = 3


class Child:
    """Dead means restarted at once; hanging is reported, not killed."""

    def __init__(
        self,
        program: Program,
        home: Home,
        log_file: Path,
        *,
        launch: Launch,
        changed: Callable[[], None],
        say: Callable[[str, str], None],
    ) -> None:
        self.program = program
        self.state = "stopped"
        self.restarts = 0
        self.pid: int | None = None
        self.ready = asyncio.Event()
        self._home = home
        self._log_file = log_file
        self._launch = launch
        self._changed = changed
        self._say = say
        self._stopping = False
        self._process: Process | None = None
        self._deaths: deque[float] = deque(maxlen=64)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running(), name=self.program.name)

    def renew(self) -> None:
        """Stops it, so that it is started again."""
        self._signal(self.program.stop_signal)

    async def stop(self) -> None:
        self._stopping = True
        if self._process is not None and not self._process.ended:
            self._set("stopping")
            self._signal(self.program.stop_signal)
            try:
                await asyncio.wait_for(self._process.wait(), self.program.stop_patience)
            except TimeoutError:
                self._say(f"{self.program.name} does not stop: killed", "yellow")
                self._signal(signal.SIGKILL)
                await self._process.wait()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self.pid = None
        self._set("stopped")

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.program.name,
            "pid": self.pid,
            "state": self.state,
            "restarts": self.restarts,
            "healthPort": self.program.health_port,
        }

    async def _keep_running(self) -> None:
        while not self._stopping:
            self._set("starting" if not self.restarts else "restarting")
            try:
                await self._spawn()
            except OSError as error:
                self._say(f"{self.program.name} cannot be started: {error}", "bold red")
                cause = "not started"
            else:
                cause = _cause(await self._watch())
            if self._told_to_stop():
                return
            self.ready.clear()
            self.pid = None
            self.restarts += 1
            self._set("restarting")
            self._say(f"{self.program.name} died ({cause}), starting it again", "yellow")
            if self.program.orphan_name is not None:
                await asyncio.to_thread(leftovers.kill_orphans, self._home, self.program.orphan_name)
            await asyncio.sleep(self._pause())

    def _told_to_stop(self) -> bool:
        return self._stopping

    def _pause(self) -> float:
        """At once, but for a program that dies over and over."""
        now = time.monotonic()
        self._deaths.append(now)
        recent = sum(1 for death in self._deaths if now - death <= WITHIN)
        return 0.0 if recent < MANY_DEATHS else min(0.25 * 2.0 ** (recent - MANY_DEATHS), LONGEST_PAUSE)

    async def _spawn(self) -> None:
        self._process = await self._launch(self.program, self._log_file)
        self.pid = self._process.pid
        self._changed()

    async def _watch(self) -> int | None:
        """Until it dies: tells when it is ready, and when it stops answering."""
        assert self._process is not None  # noqa: S101 - only called after _spawn
        dead = asyncio.create_task(self._process.wait())
        probing = asyncio.create_task(self._probe())
        try:
            await dead  # nothing is waited for beside it: a death is noticed at once
        finally:
            for task in (dead, probing):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await probing
        return dead.result()

    async def _probe(self) -> None:
        silent = 0
        while True:
            if await self._answers():
                silent = 0
                self.ready.set()
                self._set("running")
            elif self.ready.is_set():
                silent += 1
                if silent == HANGS_AFTER:
                    self._say(f"{self.program.name} does not answer", "yellow")
                    self._set("unresponsive")
            if not self.ready.is_set():
                await asyncio.sleep(READY_POLL)
            else:
                await asyncio.sleep(SILENT_POLL if silent else WATCH_EVERY)

    async def _answers(self) -> bool:
        try:
            return await self.program.ready()
        except Exception:  # noqa: BLE001 - whatever a probe stumbles over, it is no sign of life
            return False

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _set(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._changed()


def _cause(code: int | None) -> str:
    if code is None:
        return "nobody saw how"
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
