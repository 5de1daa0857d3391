"""Many documents of YAML or JSON in one text become plain values that know on which lines they stand."""

from signalbox_manifests.builder import Builder
from signalbox_manifests.document import Document
from signalbox_manifests.flaws import Flaw, ManifestError
from signalbox_manifests.json_text import is_meant_as_json, may_be_json, read_json
from signalbox_manifests.limits import MAX_BYTES
from signalbox_manifests.syntax import BadSyntax
from signalbox_manifests.yaml_text import read_yaml


def read(raw: bytes) -> list[Document]:
    """The documents of a text; raises `ManifestError` with everything that is wrong, up to 50 flaws."""
    text = _decoded(raw)
    in_json = None
    if may_be_json(text):
        builder = Builder(text)
        try:
            read_json(text, builder)
            return builder.finished()
        except BadSyntax as error:
            if error.surely:
                builder.give_up(error)
            if is_meant_as_json(text) and not builder.outside:
                in_json = builder, error
    builder = Builder(text)
    try:
        read_yaml(text, builder)
    except BadSyntax as error:
        builder, worse = in_json or (builder, error)
        builder.give_up(worse)
    return builder.finished()


def _decoded(raw: bytes) -> str:
    if len(raw) > MAX_BYTES:
        raise ManifestError(Flaw(f"The text is longer than {MAX_BYTES} bytes.", "too_large"))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"The text is not UTF-8: the byte 0x{error.object[error.start]:02x} cannot be read."
        raise ManifestError(Flaw(message, "not_utf8", line=line)) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
