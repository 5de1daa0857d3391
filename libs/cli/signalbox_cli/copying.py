"""Files and folders between here and a sandbox."""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, Any

import httpx

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.client import Client
from signalbox_common.errors import SignalboxError

_PIECE = 1024 * 1024
_SLOW = httpx.Timeout(30.0, read=300.0, write=300.0)


class Copying:
    """Of one sandbox."""

    def __init__(self, http: Client, sandbox: str) -> None:
        self._http = http
        self._files = f"/api/v1/sandboxes/{sandbox}/files"

    def upload(self, source: Path, target: str) -> None:
        """A folder beneath the target, if that is there; a file in its place, or in the folder there."""
        if not source.exists():
            raise Mistake(f"{source} is not there")
        place = self._type(target)
        if target.endswith("/") or place == "folder":
            target = str(PurePosixPath(target or ".", source.resolve().name))
        if source.is_dir():
            self._http.post(f"{self._files}/mkdir", json={"path": target, "parents": True})
            self.put_folder(source, target)
        else:
            with source.open("rb") as content:
                mode = f"{source.stat().st_mode & 0o777:03o}"
                self._put("", target, content, mode=mode, parents="true")

    def put_folder(self, source: Path, target: str) -> None:
        """What is in it, into one that is there."""
        with _packed(source) as archive:
            self._put("/archive", target, archive)

    def download(self, source: str, target: Path) -> None:
        """The same the other way."""
        kind = self._type(source)
        if kind is None:
            raise Mistake(f"{source} is not there")
        name = PurePosixPath(source).name
        if target.is_dir() and name not in ("", "..", "."):
            target = target / name
        if kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
            with TemporaryFile() as archive:
                self._get("/archive", source, archive)
                archive.seek(0)
                with tarfile.open(fileobj=archive) as packed:
                    packed.extractall(target, filter="data")  # it comes from where nobody is trusted
            return
        draft = target.with_name(f".{target.name}.part")
        try:
            with draft.open("wb") as content:
                self._get("", source, content)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)

    def _type(self, path: str) -> str | None:
        """What a path leads to, links followed; None where there is nothing."""
        for asked in (f"{path.rstrip('/') or '/'}/.", path):
            try:
                found = self._http.get(f"{self._files}/stat", params={"path": asked}).json()
            except SignalboxError as error:
                if error.code not in ("file_not_found", "not_a_folder"):
                    raise
            else:
                return str(found["type"])
        return None

    def _put(self, rest: str, path: str, content: IO[bytes], **query: str) -> None:
        def pieces() -> Iterator[bytes]:
            while piece := content.read(_PIECE):
                yield piece

        self._http.put(self._files + rest, params={"path": path, **query}, content=pieces(), timeout=_SLOW)

    def _get(self, rest: str, path: str, into: IO[bytes]) -> None:
        params: dict[str, Any] = {"path": path}
        with self._http.stream("GET", self._files + rest, params=params, timeout=_SLOW) as answer:
            for piece in answer.iter_bytes(_PIECE):
                into.write(piece)


@contextmanager
def _packed(folder: Path) -> Iterator[IO[bytes]]:
    with TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w") as packed:
            for entry in sorted(os.listdir(folder)):  # noqa: PTH208 - names, to be packed under them
                packed.add(folder / entry, entry)
        archive.seek(0)
        yield archive


def split(text: str) -> tuple[str | None, str]:
    """`SANDBOX:PATH`, or a path here."""
    sandbox, colon, path = text.partition(":")
    if not colon or "/" in sandbox:
        return None, text
    return sandbox, path
