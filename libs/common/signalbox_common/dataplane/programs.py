"""Programs of sandboxes: started, given their input, and read to their end."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx

from signalbox_common import telemetry
from signalbox_common.contracts import sandbox as contract
from signalbox_common.contracts.dataplane import DataRoute
from signalbox_common.dataplane.client import DataClient
from signalbox_common.dataplane.frames import Frame, FrameKind, FrameReader
from signalbox_common.errors import Unavailable

log = telemetry.get_logger()

_PAUSES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.0)


class ProgramClient:
    """Programs of one sandbox, by the data plane of its node."""

    def __init__(self, client: DataClient, sandbox: str) -> None:
        self._client = client
        self._sandbox = sandbox

    async def start(self, key: str, program: contract.Program) -> contract.Process:
        body = program.encode()
        answer = await self._client.write(
            contract.START_PROCESS, lambda: _once(body), sandbox=self._sandbox, key=key
        )
        return contract.Process.model_validate_json(answer)

    async def give(self, key: str, data: bytes, offset: int = 0, *, close: bool = False) -> int:
        """How much of its input it has then; to give the same again adds nothing."""
        named = {"sandbox": self._sandbox, "key": key, "from": str(offset)} | (
            {"close": "true"} if close else {}
        )
        answer = await self._client.write(contract.WRITE_INPUT, lambda: _once(data), **named)
        return contract.InputTaken.model_validate_json(answer).taken

    async def feed(self, key: str, content: AsyncIterator[bytes]) -> None:
        """All of its input, as it comes; once."""
        named = {"sandbox": self._sandbox, "key": key, "from": "0", "close": "true"}
        await self._client.pass_on(contract.WRITE_INPUT, content, **named)

    async def signal(self, key: str, wanted: contract.SignalProcess) -> None:
        await self._client.write(
            contract.SIGNAL_PROCESS, lambda: _once(wanted.encode()), sandbox=self._sandbox, key=key
        )

    async def confirm(self, key: str, offset: int) -> None:
        """All before that may go."""
        body = contract.ConfirmOutput(offset=offset).encode()
        await self._client.write(contract.CONFIRM_OUTPUT, lambda: _once(body), sandbox=self._sandbox, key=key)

    async def resize(self, key: str, size: contract.Terminal) -> None:
        await self._client.write(
            contract.RESIZE_TERMINAL, lambda: _once(size.encode()), sandbox=self._sandbox, key=key
        )

    async def processes(self) -> bytes:
        return await _whole(self._client, contract.LIST_PROCESSES, sandbox=self._sandbox)

    async def process(self, key: str) -> bytes:
        return await _whole(self._client, contract.GET_PROCESS, sandbox=self._sandbox, key=key)

    async def end(self, key: str) -> None:
        """With all that it has started."""
        await self.signal(key, contract.SignalProcess(signal=9, tree=True))

    def frames(self, key: str, offset: int = 0, *, follow: bool = True) -> AsyncGenerator[Frame, None]:
        """Each byte once, however often the connection is cut; the end comes last, if it comes at all."""
        named = {"sandbox": self._sandbox, "key": key}
        return frames_of(self._client, contract.READ_OUTPUT, offset, follow=follow, **named)


async def frames_of(
    client: DataClient, route: DataRoute, offset: int, *, follow: bool, **names: str
) -> AsyncGenerator[Frame, None]:
    """Of any route that answers with frames."""
    tries = iter(_PAUSES)
    while True:
        reader = FrameReader()
        try:
            async with client.body(route, offset, **names, follow=str(follow).lower()) as body:
                async for chunk in body.once():
                    tries = iter(_PAUSES)
                    for frame in reader.feed(chunk):
                        offset = frame.following
                        yield frame
                        if frame.kind is FrameKind.END:
                            return
        except httpx.TransportError as error:
            log.debug("goes on reading", offset=offset, reason=repr(error)[:200])
        if not follow:
            return
        pause = next(tries, None)
        if pause is None:
            raise Unavailable("What was read does not answer any more.")
        await asyncio.sleep(pause)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


async def _whole(client: DataClient, route: Any, **names: str) -> bytes:
    return b"".join([chunk async for chunk in client.read(route, **names)])
