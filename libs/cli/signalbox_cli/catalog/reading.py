"""Documents as the server reads them, for what has to be known before it is asked."""

from collections.abc import Sequence

from signalbox_catalog.domain import documents
from signalbox_catalog.domain.documents import Document
from signalbox_catalog.domain.kinds import API_VERSION, FOREIGN_API_VERSIONS
from signalbox_catalog.errors import Flawed
from signalbox_common.contracts.base import FieldError

OURS = FOREIGN_API_VERSIONS | {API_VERSION}
"""What `apiVersion` says in documents of this catalog."""


class Unread(Exception):
    """The text makes no sense."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(error.message for error in errors))
        self.errors = errors


def read(text: str) -> list[Document]:
    try:
        return documents.read(text.encode("utf-8", "surrogatepass"))
    except Flawed as error:
        raise Unread(
            [
                FieldError(field=flaw.field, message=flaw.message, code=flaw.code, line=flaw.line)
                for flaw in error.flaws
            ]
        ) from None
