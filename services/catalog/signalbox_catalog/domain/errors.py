"""What can be wrong with resources, in the words of the domain."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Flaw:
    """One thing that is wrong with what was sent, and where it stands."""

    message: str
    code: str
    field: str = ""
    """As a path with dots: `spec.members.0.botRef`."""
    document: int | None = None
    """The number of the document, from 1, where many came at once."""
    line: int | None = None
    """The line in what was sent, from 1."""


class DomainError(Exception):
    """Something that the rules of this domain do not allow."""


class Flawed(DomainError):
    """What was sent does not fit; nothing was changed."""

    def __init__(self, *flaws: Flaw) -> None:
        super().__init__("; ".join(flaw.message for flaw in flaws[:3]))
        self.flaws: Sequence[Flaw] = flaws


class Conflicting(Flawed):
    """What was sent is meant for other versions than those that are there."""


class Closed(Flawed):
    """What was sent is for namespaces that are not there, or not for the asker."""


class RoleTooLow(Flawed):
    """What was sent is for namespaces in which the asker may only read."""

    project: UUID | None = None
    """Where it is for one of them only."""


class KindNotFound(DomainError):
    """Carries what was asked for."""


class ResourceNotFound(DomainError):
    def __init__(self, what: str, namespace: str) -> None:
        super().__init__(f"There is no {what} in the namespace {namespace}.")


class AlreadyExists(DomainError):
    """A living resource has that name."""

    def __init__(self, what: str, namespace: str) -> None:
        super().__init__(f"There is a {what} in the namespace {namespace} already.")


class NothingDeleted(DomainError):
    """There is no deleted resource of that name."""


class VersionMoved(DomainError):
    """Somebody else has changed it in the meantime."""


class GenerationNotFound(DomainError):
    """It never was, or is not kept any more."""


class Expired(DomainError):
    """What came after that version is not kept any more."""


class TreeTooLarge(DomainError):
    """It refers to too much."""


class PackageNotFound(DomainError):
    """The skill has no package."""


class UploadNotFound(DomainError):
    """Nothing was uploaded under that name, or too long ago."""


class StillReferenced(DomainError):
    """Carries who refers to it: those that the asker may know, and how many others there are."""

    def __init__(self, referrers: Sequence[tuple[str, str, str]], hidden: int) -> None:
        super().__init__()
        self.referrers = referrers
        """Kind, namespace and name of each."""
        self.hidden = hidden


class Contended(Exception):
    """What was looked at before has changed since then: to be done again from the start."""
