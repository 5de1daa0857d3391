"""A server of LFS beside a remote, and commits with pointers to what it keeps."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.remotes import TOKEN, HttpRemote, basic

ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
Twist = Callable[[dict[str, Any]], Any]
"""Changes what is answered of an object."""


def pointer(content: bytes, size: int | None = None) -> str:
    oid = hashlib.sha256(content).hexdigest()
    said = len(content) if size is None else size
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {said}\n"


@dataclass
class LfsServer:
    """Of the batch API: at the remote's own port, objects at that of `store`."""

    remote: HttpRemote
    store: HttpRemote
    objects: dict[str, bytes] = field(default_factory=dict)
    status: int = 200
    twists: list[Twist] = field(default_factory=list)
    batches: int = 0
    sent: list[str] = field(default_factory=list)
    shown: list[str | None] = field(default_factory=list)
    """What came as authorization with what asked for an object."""

    def __post_init__(self) -> None:
        for each in {id(self.remote): self.remote, id(self.store): self.store}.values():
            each.behaviours.append(self._behave)

    def keep(self, content: bytes) -> str:
        """Its pointer."""
        self.objects[hashlib.sha256(content).hexdigest()] = content
        return pointer(content)

    def _behave(self, handler: Any) -> bool:
        if handler.path.endswith("/info/lfs/objects/batch"):
            if handler.headers.get("Authorization") != basic(TOKEN):
                handler.answer(401)
            elif self.status != 200:
                handler.answer(self.status, Location="http://127.0.0.1:1/elsewhere")
            else:
                self._batch(handler)
            return True
        if handler.path.startswith("/lfs/"):
            oid = handler.path[len("/lfs/") :].partition("?")[0]
            self.sent.append(oid)
            self.shown.append(handler.headers.get("Authorization"))
            handler.answer(200, self.objects[oid])
            return True
        return False

    def _batch(self, handler: Any) -> None:
        self.batches += 1
        found = []
        for asked in json.loads(handler.body)["objects"]:
            each: dict[str, Any] = {"oid": asked["oid"], "size": asked["size"]}
            if asked["oid"] in self.objects:
                href = self.store.url(f"lfs/{asked['oid']}?signed=a%2Fb")
                each["actions"] = {"download": {"href": href, "header": {"X-Of-Action": "yes"}}}
            else:
                each["error"] = {"code": 404, "message": "not there"}
            for twist in self.twists:
                twist(each)
            found.append(each)
        handler.answer(200, json.dumps({"transfer": "basic", "objects": found}).encode())
