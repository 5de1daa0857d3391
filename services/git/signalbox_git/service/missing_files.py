"""Files that somebody wants to look at, and that a partial mirror does not have yet."""

from signalbox_git import errors
from signalbox_git.domain import Repository
from signalbox_git.mirrors import partial
from signalbox_git.mirrors.mirror import Mirror
from signalbox_git.mirrors.mirrors import Mirrors
from signalbox_git.remotes.access import RemoteRefused
from signalbox_git.service.sources import Sources

MOST, MOST_BYTES = 5_000, 256 * 1024 * 1024
WITHIN = 20.0


class MissingFiles:
    def __init__(self, mirrors: Mirrors, sources: Sources) -> None:
        self._mirrors = mirrors
        self._sources = sources

    async def bring(self, found: Repository, mirror: Mirror, needed: partial.Listing) -> None:
        """Into the mirror, which is held; raises FetchFailed and TooMuch.

        The credential is asked for only where something has to be fetched.
        """
        try:
            if not mirror.is_partial or not await partial.missing_in(mirror, needed):
                return
            source = await self._sources.of(found)
            await self._mirrors.complete(source, needed, most=MOST, most_bytes=MOST_BYTES, within=WITHIN)
        except RemoteRefused as refusal:
            if refusal.reason == partial.TOO_LARGE:
                raise errors.TooMuch from refusal
            raise errors.FetchFailed(refusal.detail) from refusal
