"""One conversation of the service with the keeper of a sandbox."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from signalbox_sandbox.keeper import wire
from signalbox_sandbox.keeper.loop import Loop
from signalbox_sandbox.keeper.output import Output, following
from signalbox_sandbox.keeper.process import Process
from signalbox_sandbox.keeper.processes import Processes
from signalbox_sandbox.keeper.refused import Refused
from signalbox_sandbox.keeper.wire import Kind

_PIECE = 64 * 1024
_ENOUGH = 512 * 1024
"""Bytes that wait to be sent; more output is taken when there are fewer."""

Request = dict[str, Any]
Serve = Callable[["Connection", Request], None]


def count_of(value: object) -> int:
    """Bytes, as somebody says them."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no number of bytes")
    return value


class Connection:
    """Requests come one after the other: the next is looked at when the one before was answered."""

    def __init__(self, loop: Loop, connection: socket.socket, serve: Serve) -> None:
        self._loop = loop
        self._socket = connection
        self._serve = serve
        self._in = bytearray()
        self._out = bytearray()
        self._busy = False
        self._closing = False
        self._input: _Input | None = None
        self._output: Output | None = None
        self._offset = 0
        self._follow = False
        connection.settimeout(0)
        loop.on_readable(connection.fileno(), self._readable)

    @property
    def is_open(self) -> bool:
        return self._socket.fileno() >= 0

    def lend(self) -> int:
        """Its descriptor, for somebody else to speak there: what comes now is not ours to read."""
        self._loop.on_readable(self._socket.fileno(), None)
        return self._socket.fileno()

    def take_back(self) -> None:
        if self.is_open:
            self._loop.on_readable(self._socket.fileno(), self._readable)

    def close(self) -> None:
        if not self.is_open:
            return
        if self._output is not None:
            self._output.readers.discard(self._pump)
        if self._input is not None:
            self._input.cancel()
        self._loop.forget(self._socket.fileno())
        self._socket.close()

    def answer(self, message: Request) -> None:
        """Then comes the next request."""
        if self.is_open:
            self._busy = False
            self._send(wire.encode(message))
            self._next()

    def answer_with(self, descriptor: int) -> None:
        """A line of its own, as nothing else waits to be sent; this conversation ends with it."""
        with suppress(OSError):
            socket.send_fds(self._socket, [wire.encode({})], [descriptor])
        self.close()

    def tell(self, process: Process, offset: int, *, follow: bool) -> None:
        """What it says, from there on; this conversation ends with it."""
        self._send(wire.encode({"end": process.output.end}))
        self._output, self._offset, self._follow = process.output, offset, follow
        if follow:
            process.output.readers.add(self._pump)
        self._pump()

    def take(self, processes: Processes, process: Process | Refused, request: Request) -> None:
        """Input that follows the request; what is refused is read all the same, as it is on its way."""
        self._input = _Input(self, processes, process, request)
        self._feed()

    def taken(self) -> None:
        """There is room for more input."""
        self._loop.on_readable(self._socket.fileno(), self._readable)
        self._feed()

    def done(self, message: Request) -> None:
        self._input = None
        self.answer(message)

    # -- bytes -------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._in += data
        if self._input is not None:
            self._feed()
        else:
            self._next()

    def _feed(self) -> None:
        while self._input is not None and self._in:
            wanted = self._input.wants
            if not wanted:
                break
            piece = bytes(self._in[:wanted])
            del self._in[:wanted]
            self._input.feed(piece)
        if self._input is not None and self._input.wants == 0:
            self._input.finish()
            if self._input is not None and self.is_open:
                self._loop.on_readable(self._socket.fileno(), None)  # until it has taken what it has

    def _next(self) -> None:
        while not self._busy and self.is_open and self._output is None:
            line, end, rest = self._in.partition(b"\n")
            if not end:
                if len(self._in) > wire.LONGEST_LINE:
                    self.close()
                return
            self._in = rest
            self._busy = True
            try:
                request = json.loads(line)
            except ValueError:
                self.close()
                return
            self._serve(self, request)

    def _send(self, data: bytes) -> None:
        self._out += data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._socket.send(self._out)
                del self._out[:sent]
        except BlockingIOError:
            self._loop.on_writable(self._socket.fileno(), self._writable)
            return
        except OSError:
            self.close()
            return
        if self._closing:
            self.close()

    def _writable(self) -> None:
        self._loop.on_writable(self._socket.fileno(), None)
        self._flush()
        if self.is_open:
            self._pump()

    def _pump(self) -> None:
        """As much as fits: whoever is slow is told what is kept when it comes to that."""
        while self._output is not None and self.is_open and len(self._out) < _ENOUGH:
            frame = self._output.after(self._offset)
            if frame is None and self._follow:
                return
            if frame is None or frame.kind is Kind.END:
                self._closing = True
                self._output.readers.discard(self._pump)
                self._output = None
                self._send(frame.encode() if frame is not None else b"")
                return
            self._offset = following(frame)
            self._send(frame.encode())


class _Input:
    """Bytes for one process, from an offset on: what it has had is left out, so a repeat adds nothing."""

    def __init__(
        self, connection: Connection, processes: Processes, process: Process | Refused, request: Request
    ) -> None:
        self._connection = connection
        self._processes = processes
        self._refused = process if isinstance(process, Refused) else None
        self._process = process if isinstance(process, Process) else None
        self._offset = count_of(request["offset"])
        self._left = count_of(request["size"])
        self._close = bool(request.get("close"))
        self._fresh = b""
        if self._process is not None:
            self._process.writers.append(self._go_on)

    @property
    def wants(self) -> int:
        """Bytes that may be fed now."""
        return min(self._left, _PIECE) if not self._fresh and self._is_first else 0

    @property
    def _is_first(self) -> bool:
        return self._process is None or self._process.writers[0] == self._go_on

    def feed(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._process is not None and self._refused is None:
            if self._offset > self._process.taken:
                has = self._process.taken
                self._refused = Refused("input_gap", f"It has {has} bytes of its input; there is a gap.")
            else:
                self._fresh = piece[self._process.taken - self._offset :]
        self._offset += len(piece)
        self._write()

    def finish(self) -> None:
        """Where all has come and was taken."""
        if self._left or self._fresh or not self._is_first:
            return
        process = self._process
        if process is not None and self._refused is None and self._close:
            try:
                self._processes.end_input(process)
            except Refused as refused:
                self._refused = refused
        self.cancel()
        if self._refused is not None:
            self._connection.done({"error": self._refused.code, "detail": str(self._refused)})
        elif process is not None:
            self._connection.done({"taken": process.taken})

    def cancel(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self._processes.when_writable(process, None)
        process.writers.remove(self._go_on)
        if process.writers:
            process.writers[0]()

    def _go_on(self) -> None:
        if self._process is not None and self._is_first:
            self._processes.when_writable(self._process, None)
            self._write()
            self._connection.taken()

    def _write(self) -> None:
        process = self._process
        try:
            while self._fresh and process is not None:
                written = self._processes.write(process, self._fresh)
                if not written:
                    self._processes.when_writable(process, self._go_on)
                    return
                self._fresh = self._fresh[written:]
        except Refused as refused:
            self._refused, self._fresh = refused, b""
