"""What of a change set git would take, and what a forge does with it."""

from collections.abc import Iterator, Sequence
from typing import IO, Any, Protocol

from signalbox_common.changesets import ChangeSet, ChangesRefused

WORKFLOWS = (b".github/workflows/", b".gitea/workflows/", b".forgejo/workflows/", b".gitlab-ci.yml")
"""What a forge runs with rights of its own."""
_IGNORED_BY_HFS = dict.fromkeys(
    (*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF)
)
"""Code points that some file systems see no difference by."""
_GIT = frozenset((b".git", b"git~1"))


class _Entries(Protocol):
    @property
    def entries(self) -> Sequence[tuple[bytes, Any]]: ...


def read(file: IO[bytes]) -> ChangeSet:
    """From a file that can be read again; raises ChangesRefused. git itself refuses the same paths, later."""
    found = ChangeSet.read(file)
    for path, _ in found.entries:
        if is_of_git(path):
            raise ChangesRefused("bad_path", "A path leads into a repository's own folder.", (path,))
    return found


def is_of_git(path: bytes) -> bool:
    """On NTFS a backslash parts names as well."""
    return any(map(_is_git, path.replace(b"\\", b"/").split(b"/")))


def _is_git(part: bytes) -> bool:
    """In any case, and as file systems write it that see fewer differences."""
    plain = part.partition(b":")[0].rstrip(b". ").lower()  # NTFS: streams, and what it drops at the end
    seen = part.decode("utf-8", "surrogateescape").translate(_IGNORED_BY_HFS).lower()
    return plain in _GIT or seen.encode("utf-8", "surrogateescape") in _GIT


def workflow_files(changes: _Entries) -> Iterator[bytes]:
    return (path for path, _ in changes.entries if path.lower().startswith(WORKFLOWS))
