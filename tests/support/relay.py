"""A port between a client and a server, whose connections a test can cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

CHUNK = 64 * 1024


class Relay:
    """Passes bytes on to wherever `target` is; while that is None, whoever connects is cut off at once."""

    def __init__(self, target: str | None) -> None:
        self.target = target
        self.address = ""
        self.connections = 0
        self.passed: int | None = None
        """Bytes from the server after which every connection is cut, once."""
        self._open: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self.target is None:
                return
            host, _, port = self.target.rpartition(":")
            behind, onward = await asyncio.open_connection(host, int(port))
            self._open.add(onward)
            self.connections += 1
            try:
                passing = {
                    asyncio.create_task(self._pass(reader, onward, counted=False)),
                    asyncio.create_task(self._pass(behind, writer, counted=True)),
                }
                await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
                for each in passing:
                    each.cancel()
                await asyncio.wait(passing)
            finally:
                self._open.discard(onward)
                onward.transport.abort()
        except OSError:
            pass  # there is nobody behind at the moment
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if counted and self.passed is not None:
                    chunk, self.passed = chunk[: self.passed], self.passed - len(chunk)
                writer.write(chunk)
                await writer.drain()
                if counted and self.passed is not None and self.passed <= 0:
                    self.passed = None
                    return


@asynccontextmanager
async def relay(target: str | None) -> AsyncIterator[Relay]:
    made = Relay(target)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        made.cut()
        await server.wait_closed()
