"""How one command reaches one remote: one address that was looked at, one protocol, one credential."""

import asyncio
import shlex
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from signalbox_common.addresses import Address, NotPublic, PrivateHosts, Unresolved, resolve
from signalbox_common.remote_urls import RemoteUrl, Scheme
from signalbox_git.remotes.credentials import (
    BadKey,
    Credential,
    CredentialSocket,
    agent_with,
    handing_over,
)

_SCRATCH = "signalbox-git-"
_ALIAS = "remote"
"""What all hosts are called where their keys are kept: there is one at a time."""
_CONNECTED_WITHIN = 15.0
_ABANDONED = 24 * 3600.0
_SSH = (
    *("ssh", "-F", "/dev/null", "-a", "-x", "-T"),
    *("-o", "BatchMode=yes"),
    *("-o", "ClearAllForwardings=yes"),
    *("-o", "ConnectTimeout=15"),
    *("-o", "ControlMaster=no"),
    *("-o", "GlobalKnownHostsFile=/dev/null"),
    *("-o", "HashKnownHosts=no"),
    *("-o", f"HostKeyAlias={_ALIAS}"),
    *("-o", "IdentityFile=none"),
    *("-o", "PermitLocalCommand=no"),
    *("-o", "PreferredAuthentications=publickey"),
    *("-o", "ProxyCommand=none"),
    *("-o", "ServerAliveInterval=15"),
    *("-o", "UpdateHostKeys=no"),
)


class RemoteRefused(Exception):
    """Why it cannot be reached, in a word and in a sentence."""

    def __init__(
        self, reason: str, detail: str, *, passes: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.passes = passes
        """Whether it may be otherwise in a while."""
        self.retry_after = retry_after
        """Seconds before which it wants to hear nothing."""


@dataclass(frozen=True)
class Reach:
    """What the operator of this installation lets commands reach."""

    root: Path
    """Below it lie repositories on this machine."""
    private: PrivateHosts = field(default_factory=PrivateHosts)
    ca_file: Path | None = None
    """Certificates of authorities that count, if not those of the machine."""


@dataclass(frozen=True)
class Access:
    """What git is told beside what it is to do; all of it ends with the command."""

    argument: str
    """The remote, as an argument that is no option."""
    config: tuple[tuple[str, str], ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    credential: CredentialSocket | None = None
    known_hosts: Path | None = None

    def host_keys(self) -> str | None:
        """Those that were there before, or the one that the host has shown."""
        with suppress(OSError):
            return self.known_hosts.read_text(encoding="ascii") or None if self.known_hosts else None
        return None


@asynccontextmanager
async def access(
    url: RemoteUrl, credential: Credential | None, reach: Reach, host_keys: str | None = None
) -> AsyncIterator[Access]:
    """Raises RemoteRefused where nothing may, or can, be asked there."""
    if url.scheme is Scheme.LOCAL:
        yield Access(str(_beneath(reach.root, url)), (("protocol.file.allow", "always"),))
        return
    addresses = await looked_at(url, reach)
    folder = Path(mkdtemp(prefix=_SCRATCH))  # nobody else can enter; its path is short enough for sockets
    try:
        async with AsyncExitStack() as stack:
            way = _by_ssh if url.scheme is Scheme.SSH else _by_http
            yield await way(stack, url, credential, addresses, reach, folder, host_keys)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _beneath(root: Path, url: RemoteUrl) -> Path:
    own, found = root.resolve(), Path(url.path).resolve()
    if not found.is_relative_to(own) or found == own:
        raise RemoteRefused("private_address", "Repositories on this machine lie below SIGNALBOX_GIT_ROOT.")
    if not found.is_dir():
        raise RemoteRefused("not_found", "There is no such repository.")
    return found


async def looked_at(url: RemoteUrl, reach: Reach) -> list[Address]:
    try:
        found = await resolve(url.host, url.port, reach.private)
    except Unresolved as error:
        raise RemoteRefused("unresolved", f"There is no host called {url.host}.", passes=True) from error
    except NotPublic as error:
        raise RemoteRefused(
            "private_address",
            f"{url.host} is at an address that is not public: SIGNALBOX_PRIVATE_HOSTS has those that may be.",
        ) from error
    if url.scheme is Scheme.HTTP and not all(reach.private.allow(url.host, each) for each in found):
        raise RemoteRefused("insecure", "Over the internet a repository is reached by https or ssh.")
    return found


async def _by_http(
    stack: AsyncExitStack,
    url: RemoteUrl,
    credential: Credential | None,
    addresses: list[Address],
    reach: Reach,
    folder: Path,
    _host_keys: str | None,
) -> Access:
    handed = await stack.enter_async_context(handing_over(credential, url, folder))
    at = ",".join(f"[{each}]" if each.version == 6 else str(each) for each in addresses)
    config = [
        (f"protocol.{url.scheme}.allow", "always"),
        ("credential.helper", handed.helper),
        *([("http.curloptResolve", f"{url.host}:{url.port}:{at}")] if ":" not in url.host else []),
        *([("http.sslCAInfo", str(reach.ca_file))] if reach.ca_file is not None else []),
    ]
    return Access(str(url), tuple(config), credential=handed)


async def _by_ssh(
    stack: AsyncExitStack,
    url: RemoteUrl,
    credential: Credential | None,
    addresses: list[Address],
    _reach: Reach,
    folder: Path,
    host_keys: str | None,
) -> Access:
    address = await _answering(addresses, url.port)
    known = folder / "known_hosts"
    known.write_text(host_keys or "", encoding="ascii")
    agent = "none"
    if credential is not None and credential.private_key is not None:
        try:
            agent = str(await stack.enter_async_context(agent_with(credential.private_key, folder)))
        except BadKey as error:
            raise RemoteRefused("bad_key", "ssh does not take the private key.") from error
        except FileNotFoundError as error:
            raise RemoteRefused("no_ssh", "There is no ssh on the machine of the git service.") from error
    command = (
        *_SSH,
        *("-o", f"HostName={address}"),
        *("-o", f"IdentityAgent={agent}"),
        *("-o", f"StrictHostKeyChecking={'yes' if host_keys else 'accept-new'}"),
        *("-o", f"UserKnownHostsFile={known}"),
    )
    return Access(
        str(url),
        (("protocol.ssh.allow", "always"),),
        {"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"},
        known_hosts=known,
    )


def remove_scratch() -> None:
    """Of processes that were killed in the middle."""
    for path in Path(gettempdir()).glob(f"{_SCRATCH}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


async def _answering(addresses: list[Address], port: int) -> Address:
    """The first that takes a connection."""
    for address in addresses:
        with suppress(OSError):
            async with asyncio.timeout(_CONNECTED_WITHIN):
                _, writer = await asyncio.open_connection(str(address), port)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            return address
    raise RemoteRefused("unreachable", "The host does not answer.", passes=True)
