"""Which forge a repository is at, and how that is asked."""

from signalbox_common import remote_urls
from signalbox_common.contracts.git import Forge as ForgeKind
from signalbox_common.remote_urls import RemoteUrl, Scheme
from signalbox_git.domain import HostCredential, Repository
from signalbox_git.forges import gitea, github
from signalbox_git.forges.base import Forge, SeenRepository
from signalbox_git.mirrors.mirrors import Source
from signalbox_git.remotes.access import Reach, RemoteRefused
from signalbox_git.remotes.credentials import Credential


class Forges:
    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def of(self, repository: Repository, source: Source) -> Forge | None:
        """None where there is only git."""
        url = parsed(repository.url)
        if url is None:
            return None
        owner, _, name = url.path.removesuffix(".git").rpartition("/")
        owner = owner.rpartition("/")[2]
        if repository.forge is ForgeKind.GIT or not owner or not name:
            return None
        base = repository.api_url or source.api_url or api_of(repository.forge, url)
        if base is None:
            return None
        kind = github.GitHub if repository.forge is ForgeKind.GITHUB else gitea.Gitea
        return kind(owner, name, source.credential, self._reach, base=base)

    async def visible(
        self, known: HostCredential, credential: Credential | None, limit: int
    ) -> list[SeenRepository]:
        """What is shown there to whoever has this credential; raises RemoteRefused."""
        base = known.api_url or api_of(known.forge, remote_urls.parse(f"https://{known.host}/any"))
        if known.forge is ForgeKind.GIT or base is None:
            raise RemoteRefused("no_forge", "There is no forge at this host, only git.")
        visible = github.visible if known.forge is ForgeKind.GITHUB else gitea.visible
        return await visible(credential, self._reach, base=base, limit=limit)


def parsed(text: str) -> RemoteUrl | None:
    """None where it was taken by an earlier version that was less strict."""
    try:
        return remote_urls.parse(text)
    except remote_urls.BadUrl:
        return None


def api_of(forge: ForgeKind, url: RemoteUrl) -> str | None:
    """Where the forge of that host answers, where nobody has said otherwise."""
    if url.scheme is Scheme.LOCAL:
        return None
    if forge is ForgeKind.GITHUB and url.host == "github.com":
        return github.PUBLIC
    scheme, at = url.scheme.value, host_of(url)
    if url.scheme is Scheme.SSH:
        scheme, at = Scheme.HTTPS.value, f"[{url.host}]" if ":" in url.host else url.host
    return f"{scheme}://{at}/api/{'v3' if forge is ForgeKind.GITHUB else 'v1'}"


def host_of(url: RemoteUrl) -> str:
    """With its port, where that is not the usual one."""
    host = f"[{url.host}]" if ":" in url.host else url.host
    usual = {Scheme.HTTPS: 443, Scheme.HTTP: 80, Scheme.SSH: 22}.get(url.scheme)
    return host if url.port in (usual, 0) else f"{host}:{url.port}"
