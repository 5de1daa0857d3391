"""Many documents of YAML or JSON in one text become plain values that know on which lines they stand."""

from signalbox_catalog.domain.documents.building import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_DOCUMENTS,
    MAX_FLAWS,
    MAX_NODES,
    Builder,
)
from signalbox_catalog.domain.documents.document import Document, Path
from signalbox_catalog.domain.documents.flaws import Broken
from signalbox_catalog.domain.documents.json_text import is_meant_as_json, may_be_json, read_json
from signalbox_catalog.domain.documents.yaml_text import read_yaml
from signalbox_catalog.errors import Flaw, Flawed

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_DOCUMENTS",
    "MAX_FLAWS",
    "MAX_NODES",
    "Document",
    "Path",
    "read",
]


def read(raw: bytes) -> list[Document]:
    """The documents of a text; raises `Flawed` with everything that was found wrong, up to 50 flaws."""
    text = _decoded(raw)
    in_json = None
    if may_be_json(text):
        builder = Builder(text)
        try:
            read_json(text, builder)
            return builder.finished()
        except Broken as broken:
            if broken.surely:
                builder.give_up(broken)
            if is_meant_as_json(text) and not builder.outside:
                in_json = builder, broken
    builder = Builder(text)
    try:
        read_yaml(text, builder)
    except Broken as broken:
        builder, worse = in_json or (builder, broken)
        builder.give_up(worse)
    return builder.finished()


def _decoded(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise Flawed(Flaw(f"The text is longer than {MAX_BYTES} bytes.", "too_large"))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"The text is not UTF-8: the byte 0x{error.object[error.start]:02x} cannot be read."
        raise Flawed(Flaw(message, "not_utf8", line=line)) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
