"""What is said in place of events that are left out."""

import json

from signalbox_gateway.live.offsets import Offset
from signalbox_gateway.live.publication import Told, framed, resync


class Resync(Told):
    """Comes in its order among events: what is between the two places has to be asked for in pages."""

    def __init__(self, at: Offset, after: Offset | None, reason: str) -> None:
        self.said = resync(at, after, reason)
        super().__init__(at, "", "resync", json.dumps(self.said).encode())

    def is_of(self, types: object) -> bool:  # noqa: ARG002 - it concerns everybody
        return True

    def frame(self, ref: str) -> bytes:
        return framed(json.dumps({"type": "resync", "ref": ref, **self.said}, ensure_ascii=False).encode())
