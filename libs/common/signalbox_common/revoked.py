"""What was taken back: heard by every process from one stream, and forgotten when nothing can stand on it."""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from signalbox_common.contracts.auth import AccessRevoked
from signalbox_common.errors import Unavailable

FORGOTTEN_AFTER = timedelta(hours=1)
VERSIONS_KEPT = 100
"""Of one user; which of them came first counts only for commands that wait in the stream."""
TRUSTED_FOR = 1.0
"""Seconds of silence of the stream after which what is known here is not trusted any more."""
_PATIENCE = 2.0

Key = tuple[str, uuid.UUID | str]


class Revocations:
    """Sessions, tokens, delegations and versions of users that are not good any more.

    `heard` is called with whatever comes from the stream, its heartbeats included: as long as they come,
    nothing can have been missed.
    """

    def __init__(self) -> None:
        self._since: OrderedDict[Key, datetime] = OrderedDict()
        self._versions: OrderedDict[uuid.UUID, list[tuple[int, datetime]]] = OrderedDict()
        """By user, growing; the user who changed last is the last."""
        self._heard_at: float | None = None
        self._heard = asyncio.Event()
        self.listeners: set[Callable[[AccessRevoked], None]] = set()

    # -- what the stream says ------------------------------------------------------------------------

    def heard(self) -> None:
        """The stream has said something, and everything before it was taken note of."""
        self._heard_at = time.monotonic()
        self._heard.set()

    def take(self, what: AccessRevoked, at: datetime) -> None:
        for kind, identifier in (
            ("session", what.session_id),
            ("token", what.token_id),
            ("delegation", what.delegation_id),
            ("key", what.kid),
        ):
            if identifier is not None:
                self._since.setdefault((kind, identifier), at)
        if what.user_id is not None and what.version is not None:
            known = self._versions.setdefault(what.user_id, [])
            if not known or known[-1][0] < what.version:  # the stream is read again after a pause
                known.append((what.version, at))
                del known[:-VERSIONS_KEPT]
                self._versions.move_to_end(what.user_id)
        self._forget()
        for listener in list(self.listeners):
            listener(what)

    def _forget(self) -> None:
        oldest = datetime.now(UTC) - FORGOTTEN_AFTER
        while self._since and next(iter(self._since.values())) < oldest:
            self._since.popitem(last=False)
        while self._versions and next(iter(self._versions.values()))[-1][1] < oldest:
            self._versions.popitem(last=False)

    # -- what is asked -------------------------------------------------------------------------------

    @property
    def silence(self) -> float:
        """Seconds since the stream was heard."""
        return float("inf") if self._heard_at is None else time.monotonic() - self._heard_at

    @property
    def trusted(self) -> bool:
        """Whether nothing can have been missed."""
        return self.silence <= TRUSTED_FOR

    async def known(self, patience: float = _PATIENCE) -> None:
        """Returns when nothing can have been missed; raises Unavailable where that does not come."""
        if self.trusted:
            return
        self._heard.clear()
        try:
            await asyncio.wait_for(self._heard.wait(), patience)
        except TimeoutError as error:
            raise Unavailable("Whether this was revoked cannot be checked at the moment.") from error

    def covers(
        self,
        *,
        at: datetime | None = None,
        session: uuid.UUID | None = None,
        token: uuid.UUID | None = None,
        delegation: uuid.UUID | None = None,
        kid: str | None = None,
        user: uuid.UUID | None = None,
        version: int | None = None,
    ) -> bool:
        """Whether any of these had been taken back at that moment (by now, unless said otherwise)."""
        for kind, identifier in (
            ("session", session),
            ("token", token),
            ("delegation", delegation),
            ("key", kid),
        ):
            since = self._since.get((kind, identifier)) if identifier is not None else None
            if since is not None and (at is None or since <= at):
                return True
        if user is None or version is None:
            return False
        known = self._versions.get(user, [])
        if at is None:
            return bool(known) and version < known[-1][0]
        return any(version < newer and since <= at for newer, since in known)
