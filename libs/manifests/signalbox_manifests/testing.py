"""Short ways to read a text, for tests."""

from typing import Any

from signalbox_manifests.document import Document
from signalbox_manifests.flaws import Flaw, ManifestError
from signalbox_manifests.reader import read


def one(text: str) -> Document:
    (document,) = read(text.encode())
    return document


def contents(text: str) -> list[Any]:
    return [document.content for document in read(text.encode())]


def flaws(text: str | bytes) -> list[Flaw]:
    try:
        read(text if isinstance(text, bytes) else text.encode())
    except ManifestError as error:
        return list(error.flaws)
    raise AssertionError("nothing was found wrong")


def flaw(text: str | bytes) -> Flaw:
    (found,) = flaws(text)
    if not found.message.endswith("."):
        raise AssertionError(f"{found.message!r} is no sentence")
    return found


def where(found: Flaw) -> tuple[str, str, int | None, int | None]:
    return found.code, found.field, found.document, found.line
