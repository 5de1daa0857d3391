"""A headless Chromium, driven over its DevTools protocol."""

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from signalbox_common.testing import eventually
from tests.support.run import new_folder

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


PATIENCE = 20.0


def find() -> str | None:
    """The one that `SIGNALBOX_TEST_CHROMIUM` names, or else that which is installed."""
    named = os.environ.get("SIGNALBOX_TEST_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self.session: str | None = None
        self._connection = connection
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def listen(self) -> None:
        async for text in self._connection:
            message = json.loads(text)
            answered = self._waiting.pop(message.get("id"), None)
            if answered is not None and not answered.done():
                answered.set_result(message)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._connection.send(
            json.dumps(message | ({"sessionId": self.session} if self.session else {}))
        )
        answer = await asyncio.wait_for(waiting, PATIENCE)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    async def goto(self, url: str) -> None:
        went = await self.call("Page.navigate", url=url)
        assert "errorText" not in went, went

        async def loaded() -> bool:
            return bool(await self.evaluate(f"location.href == {url!r} && document.readyState == 'complete'"))

        await eventually(loaded, within=PATIENCE, what=f"{url} is open")

    async def evaluate(self, script: str) -> Any:
        """The value of an expression, or what it promises."""
        told = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, script: str, within: float = PATIENCE) -> None:
        async def holds() -> bool:
            return bool(await self.evaluate(script))

        try:
            await eventually(holds, within=within, what=script)
        except AssertionError:
            state = await self.evaluate("JSON.stringify(window.seen || null)")
            raise AssertionError(f"{script} did not hold; the page has seen {state}") from None


@asynccontextmanager
async def browser(program: str) -> AsyncIterator[Page]:
    folder = new_folder("chromium")
    options = [
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-extensions",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    process = await asyncio.create_subprocess_exec(
        program,
        *options,
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with connect(await _address(folder), max_size=None) as connection:
            page = Page(connection)
            listening = asyncio.create_task(page.listen())
            try:
                target = await page.call("Target.createTarget", url="about:blank")
                attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
                page.session = attached["sessionId"]
                yield page
            finally:
                listening.cancel()
                await asyncio.wait([listening])
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()

        async def gone() -> bool:
            shutil.rmtree(folder, ignore_errors=True)
            return not folder.exists()

        await eventually(gone, within=PATIENCE, what="none of its processes writes there any more")


async def _address(folder: Path) -> str:
    """Where it listens, which it writes into its folder."""
    file = folder / "DevToolsActivePort"

    async def written() -> list[str]:
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return lines if len(lines) > 1 else []

    port, path, *_ = await eventually(written, within=60, what="Chromium listens")
    return f"ws://127.0.0.1:{port}{path}"
