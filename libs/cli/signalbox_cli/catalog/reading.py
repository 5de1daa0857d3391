"""Documents as the server reads them, for what has to be known before it is asked."""

from collections.abc import Sequence

import signalbox_manifests
from signalbox_common.contracts.base import FieldError
from signalbox_manifests import API_VERSION, FOREIGN_API_VERSIONS, Document, ManifestError

OURS = FOREIGN_API_VERSIONS | {API_VERSION}
"""What `apiVersion` says in documents of this catalog."""


class Unread(Exception):
    """The text makes no sense."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


def read(text: str) -> list[Document]:
    try:
        return signalbox_manifests.read(text.encode("utf-8", "surrogatepass"))
    except ManifestError as error:
        raise Unread(
            [
                FieldError(field=flaw.field, message=flaw.message, code=flaw.code, line=flaw.line)
                for flaw in error.flaws
            ]
        ) from None
