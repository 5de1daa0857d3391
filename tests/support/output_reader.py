"""Reads the output of a process in a sandbox into files, as a service would: `FOLDER KEY FILE`.

Goes on from what FILE holds, and confirms what is written; says on its own output how long it took to begin.
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from signalbox_common.dataplane.frames import FrameKind
from signalbox_sandbox.runtime.keepers import KeeperClient

CONFIRM_EVERY = 1024 * 1024


async def main() -> None:
    client, key, kept = KeeperClient(Path(sys.argv[1])), sys.argv[2], Path(sys.argv[3])
    began = time.monotonic()
    with kept.open("ab") as file, kept.with_suffix(".err").open("ab") as errors:
        offset = file.tell() + errors.tell()
        confirmed = offset
        first = True
        async for frame in client.frames(key, offset):
            if first:
                print(time.monotonic() - began, flush=True)
                first = False
            if frame.kind is FrameKind.END:
                return
            assert frame.kind is not FrameKind.GAP, "something was lost"
            assert frame.offset == offset
            os.write(file.fileno() if frame.kind is FrameKind.STDOUT else errors.fileno(), frame.content)
            offset += len(frame.content)
            if offset - confirmed >= CONFIRM_EVERY:
                await client.ask("confirm", key=key, offset=offset)
                confirmed = offset


if __name__ == "__main__":
    asyncio.run(main())
