"""A remote: what it has, what is fetched from it, and what is pushed there."""

import re
import resource
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from signalbox_common.contracts.git import RefName
from signalbox_common.remote_urls import RemoteUrl
from signalbox_git.command import PROMISOR, AnsweredTooMuch, GitDirectory, GitFailed, TookTooLong
from signalbox_git.domain import HEADS, TAGS
from signalbox_git.remotes.access import Access, Reach, RemoteRefused, access
from signalbox_git.remotes.credentials import Credential, scrubbed

_LOOKED_WITHIN = 30.0
_HEAD, _PEELED = "HEAD", "^{}"
_TO_BRANCH = f"ref: {HEADS}"
_NAME: TypeAdapter[str] = TypeAdapter(RefName)
_PUSHED_WITHIN = 300.0
_NO_NEGOTIATION = (("fetch.negotiationAlgorithm", "noop"),)
"""Of what is here nothing counts: what belongs to a commit that is here may be missing."""
_MIB = 1024 * 1024
_MEMORY = {resource.RLIMIT_DATA: 2048 * _MIB}
"""git takes some 160 bytes for each object that it is sent, and holds whole what is no file."""
_MEMORY_OF_LOOKING = {resource.RLIMIT_DATA: 512 * _MIB}
_BOUNDS = {"GIT_ALLOC_LIMIT": "1g"}
_FRUGAL = (("core.bigFileThreshold", "64m"), ("core.deltaBaseCacheLimit", "32m"), ("pack.threads", "2"))
_UP_TO_DATE = b"=\t"
"""What begins the line of a ref that a push has left as it was."""
NOT_OURS = "not_ours"
_TOO_LARGE = "The remote has more branches, or larger objects, than are taken of one."
_REASONS: tuple[tuple[str, str, str, bool], ...] = (
    ("moved", r"\[rejected\].*\((stale info|fetch first|non-fast-forward)", "It was moved.", True),
    (
        "moved",
        r"\[remote rejected\].*(lock|update ref|already exists|incorrect old value|atomic)",
        "It was moved.",
        True,
    ),
    ("push_refused", r"\[remote rejected\]|pre-receive hook declined", "The remote refuses the push.", False),
    ("too_large", "attempting to allocate .* over limit", _TOO_LARGE, False),
    ("disk_full", "no space left on device", "There is not enough space left on the disk for this.", True),
    ("malformed", "fsck error", "There is something in it that git does not take from anybody.", False),
    (NOT_OURS, "not our ref|unadvertised object", "The remote does not have this commit.", False),
    ("host_key_changed", "host key verification failed", "The host shows another key than before.", False),
    ("unreachable", "connection refused", "The host does not answer.", True),
    ("unreachable", "failed to connect|couldn't connect", "The host does not answer.", True),
    ("unreachable", "timed out|timeout|network is unreachable", "The host does not answer in time.", True),
    ("tls", "ssl|tls|certificate", "The certificate of the host is not one that counts here.", False),
    ("not_found", "not found|returned error: 404|does not exist", "There is no such repository.", False),
    ("not_found", "does not appear to be a git repository", "There is no such repository.", False),
    ("unauthorized", "could not read username", "The remote asks for a credential.", False),
    ("unauthorized", "authentication failed|permission denied", "The credential is not taken.", False),
    ("unauthorized", "returned error: 40[13]", "The credential is not taken.", False),
    ("redirected", "returned error: 30[0-9]|redirect", "The repository has moved to another address.", False),
    ("busy", "returned error: (429|5[0-9][0-9])", "The remote is in trouble at the moment.", True),
    ("busy", "hung up|early eof|connection reset|rpc failed", "The connection has broken.", True),
    (
        "malformed",
        "cannot lock ref|unable to update local ref",
        "Its branches cannot be kept beside each other: a name is too long, or the beginning of another.",
        True,
    ),
    (
        "malformed",
        "did not send all|(index-pack|unpack-objects) failed|invalid index-pack|protocol error|not valid: is",
        "What the remote sends is not whole, or not what git can read.",
        True,
    ),
)
"""Of what git says, in this order, what it means; the last is whether it passes."""


class BranchMoved(Exception):
    """Something else is there than what was seen last."""


@dataclass(frozen=True)
class RemoteRefs:
    """What a remote has, as it says itself."""

    head: str | None
    """The branch that it begins with."""
    refs: dict[str, str] = field(default_factory=dict)

    @property
    def mirrored(self) -> dict[str, str]:
        """Branches and tags: forges have much beside them."""
        return {
            name: value
            for name, value in self.refs.items()
            if name.startswith((HEADS, TAGS)) and not name.endswith(_PEELED)
        }


@dataclass(frozen=True)
class Remote:
    url: RemoteUrl
    credential: Credential | None
    access: Access

    async def refs(self, scratch: GitDirectory, *patterns: str) -> RemoteRefs:
        """All, or those that match; raises RemoteRefused."""
        arguments = ("ls-remote", "--symref", "--end-of-options", self.access.argument, *patterns)
        return _refs_of(
            await self._ask(scratch, *arguments, within=_LOOKED_WITHIN, limits=_MEMORY_OF_LOOKING)
        )

    async def fetch(
        self,
        mirror: GitDirectory,
        refspecs: Sequence[str],
        *,
        within: float,
        hear: Callable[[bytes], None] | None = None,
    ) -> None:
        """Raises RemoteRefused."""
        await self._ask(
            mirror,
            *("fetch", "--prune", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"),
            *("--force", "--no-show-forced-updates", "--progress"),
            *("--end-of-options", self._source_for(mirror), *refspecs),
            within=within,
            hear=hear,
        )

    async def fetch_files(
        self,
        mirror: GitDirectory,
        names: Sequence[str],
        *,
        within: float,
        hear: Callable[[bytes], None] | None = None,
    ) -> None:
        """As git calls them, into a partial mirror, and nothing beside; raises RemoteRefused."""
        try:
            await self._ask(
                mirror,
                *("fetch", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head"),
                *("--progress", "--stdin", "--end-of-options", self._source_for(mirror)),
                given="".join(f"{name}\n" for name in names).encode("ascii"),
                config=_NO_NEGOTIATION,
                within=within,
                hear=hear,
            )
        except RemoteRefused as refusal:
            if refusal.reason == NOT_OURS:
                detail = "The remote does not have all files of this commit any more."
                raise RemoteRefused(refusal.reason, detail) from refusal
            raise

    async def fetch_commit(self, mirror: GitDirectory, branch: str) -> None:
        """What a branch leads to now; no ref is changed for it."""
        await self._fetch_one(mirror, f"{HEADS}{branch}")

    async def fetch_object(self, mirror: GitDirectory, commit: str) -> None:
        """With all that belongs to it, where the remote lets that be asked for."""
        try:
            await self._fetch_one(mirror, commit)
        except RemoteRefused as refusal:
            if refusal.reason != NOT_OURS:
                raise

    async def _fetch_one(self, mirror: GitDirectory, what: str) -> None:
        """Without a ref for it."""
        options = ("--no-tags", "--no-auto-maintenance", "--no-write-fetch-head", "--quiet")
        target = ("--end-of-options", self._source_for(mirror), what)
        await self._ask(mirror, "fetch", *options, *target, within=_PUSHED_WITHIN)

    async def push(self, mirror: GitDirectory, commit: str, branch: str, expected: str | None) -> None:
        """Raises BranchMoved where something else is there than expected, and RemoteRefused."""
        await self.put_ref(mirror, f"{HEADS}{branch}", commit, expected)

    async def put_ref(
        self,
        source: GitDirectory,
        name: str,
        value: str | None,
        expected: str | None,
        *,
        hear: Callable[[bytes], None] | None = None,
    ) -> bool:
        """False where it led there already, so that it was somebody else; raises as `push` does."""
        try:
            said = await self._ask(
                source,
                *("push", "--porcelain", "--atomic", "--no-verify", "--no-follow-tags"),
                *(["--progress"] if hear is not None else []),
                f"--force-with-lease={name}:{expected or ''}",
                *("--end-of-options", self.access.argument, f"{value or ''}:{name}"),
                within=_PUSHED_WITHIN,
                hear=hear,
            )
        except RemoteRefused as refusal:
            if refusal.reason == "moved":
                raise BranchMoved from refusal
            raise
        return not any(line.startswith(_UP_TO_DATE) for line in said.splitlines())

    async def _ask(
        self,
        repository: GitDirectory,
        *arguments: str,
        within: float,
        hear: Callable[[bytes], None] | None = None,
        given: bytes = b"",
        config: Sequence[tuple[str, str]] = (),
        limits: Mapping[int, int] | None = None,
    ) -> bytes:
        env, config = {**_BOUNDS, **self.access.env}, (*_FRUGAL, *self.access.config, *config)
        if repository.partial:
            config = (*config, (f"remote.{PROMISOR}.url", self.access.argument))
        try:
            return await repository.run(
                *arguments,
                given=given,
                env=env,
                config=config,
                within=within,
                hear=hear,
                limits=limits or _MEMORY,
            )
        except GitFailed as error:
            words = (scrubbed(each, self.credential) for each in (error.complaint, error.said))
            known = GitFailed(arguments, error.status, *words)
            raise self._refused(f"{known.said}\n{known.complaint}") from known
        except TookTooLong as error:
            raise RemoteRefused("timeout", "The remote took too long.", passes=True) from error
        except AnsweredTooMuch as error:
            raise RemoteRefused("too_large", _TOO_LARGE) from error

    def _source_for(self, repository: GitDirectory) -> str:
        """As a fetch into it calls us: what is partial has a name for whoever has the rest."""
        return PROMISOR if repository.partial else self.access.argument

    def _refused(self, complaint: str) -> RemoteRefused:
        """In our words. What the remote is called says nothing of what is wrong with it."""
        said = complaint.replace(self.access.argument, "…").replace(self.url.path, "…")
        for reason, pattern, detail, passes in _REASONS:
            if re.search(pattern, said, re.IGNORECASE):
                return RemoteRefused(reason, detail, passes=passes)
        last = said.strip().splitlines()[-1:] or ["git has failed."]
        shown = "".join(each for each in last[0] if each.isprintable())  # it may be the remote's word
        return RemoteRefused("failed", shown[:300], passes=True)


@asynccontextmanager
async def remote(
    url: RemoteUrl, credential: Credential | None, reach: Reach, host_keys: str | None = None
) -> AsyncIterator[Remote]:
    """Raises RemoteRefused where nothing may, or can, be asked there."""
    async with access(url, credential, reach, host_keys) as way:
        yield Remote(url, credential, way)


def _refs_of(said: bytes) -> RemoteRefs:
    head, refs = None, {}
    for line in said.decode("utf-8", "surrogateescape").rstrip("\n").split("\n"):
        value, _, name = line.partition("\t")
        if value.startswith(_TO_BRANCH) and name == _HEAD:
            head = _branch(value.removeprefix(_TO_BRANCH))
        elif value.startswith("ref: "):
            continue  # it begins with something else than a branch
        else:
            refs[name] = value
    return RemoteRefs(head, refs)


def _branch(name: str) -> str | None:
    """It is kept, shown and asked for again: what is no name is none."""
    try:
        return _NAME.validate_python(name)
    except ValidationError:
        return None
