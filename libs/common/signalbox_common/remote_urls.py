"""The address of a repository, read strictly and put together anew: nothing that was typed reaches git."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from signalbox_common.addresses import BadHost, host_and_port

LONGEST = 2000
_PORTS = {"https": 443, "http": 80, "ssh": 22}
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_PART = re.compile(r"(?:[A-Za-z0-9._~+@,=!$&()-]|%[0-9A-F]{2})+")
_HIDDEN = re.compile(r"%(?:[01][0-9A-F]|2[5EF]|5C|7F|[89A-F][0-9A-F])")
"""What means something else once it is decoded: control characters, `%`, `.`, `/`, `\\`, no ASCII."""
_SCP = re.compile(r"(?:([^@/:]+)@)?(\[[^\[\]]*\]|[^:/@\[\]]+):(.*)")


class BadUrl(ValueError):
    """Carries what is wrong with it."""


class Scheme(StrEnum):
    HTTPS = "https"
    HTTP = "http"
    SSH = "ssh"
    LOCAL = "local"


@dataclass(frozen=True)
class RemoteUrl:
    scheme: Scheme
    path: str
    """Of a repository on this machine the whole one."""
    host: str = ""
    port: int = 0
    user: str | None = None
    is_relative: bool = False
    """Whether ssh counts the path from the home of its user."""

    def __str__(self) -> str:
        """As it is shown, stored and given to git."""
        if self.scheme is Scheme.LOCAL:
            return self.path
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user is not None else ""
        if self.is_relative:
            return f"{user}{host}:{self.path}"
        port = f":{self.port}" if self.port != _PORTS[self.scheme] else ""
        return f"{self.scheme}://{user}{host}{port}/{self.path}"

    @property
    def name(self) -> str:
        """What a clone of it would be called."""
        return PurePosixPath(self.path).name.removesuffix(".git") or "repository"


def parse(text: str) -> RemoteUrl:
    """`https://`, `http://`, `ssh://`, `user@host:path` or an absolute path; raises BadUrl."""
    if not text or len(text) > LONGEST or not (text.isascii() and text.isprintable()) or " " in text:
        raise BadUrl("an address has printable ASCII characters, without spaces")
    if text.startswith("/"):
        return _local(text)
    scheme, separator, rest = text.partition("://")
    if separator:
        return _with_scheme(scheme.lower(), rest)
    if scp := _SCP.fullmatch(text):
        user, host, path = scp.groups()
        if path.startswith("/"):
            raise BadUrl("after the colon a path is counted from the home; ssh:// has absolute ones")
        return RemoteUrl(
            Scheme.SSH, _path(path), *_authority(host, Scheme.SSH), _user(user), is_relative=True
        )
    raise BadUrl("an address begins with https://, ssh://, user@host: or /")


def _with_scheme(name: str, rest: str) -> RemoteUrl:
    if name not in _PORTS:
        raise BadUrl("an address begins with https://, ssh://, user@host: or /")
    scheme = Scheme(name)
    authority, _, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if at and scheme is not Scheme.SSH:
        raise BadUrl("an address has no user and no password: they belong into the credential")
    return RemoteUrl(scheme, _path(path), *_authority(host, scheme), _user(user) if at else None)


def _authority(text: str, scheme: Scheme) -> tuple[str, int]:
    try:
        host, port = host_and_port(text)
    except BadHost as error:
        raise BadUrl(str(error)) from error
    return host, port or _PORTS[scheme]


def _user(text: str | None) -> str | None:
    if text is not None and not _USER.fullmatch(text):
        raise BadUrl("a user has letters, digits and . _ -")
    return text


def _path(text: str) -> str:
    parts = text.rstrip("/").split("/")
    for part in parts:
        if not _PART.fullmatch(part) or _HIDDEN.search(part):
            raise BadUrl("a path has parts of letters, digits and . _ ~ + - @, and %20 for a space")
        if part in (".", "..") or part.startswith("-"):
            raise BadUrl("no part of a path is . or .., nor begins with -")
    return "/".join(parts)


def _local(text: str) -> RemoteUrl:
    path = PurePosixPath(text)
    if ".." in path.parts or text.startswith("//") or not path.name:
        raise BadUrl("a path on this machine leads to a folder, without ..")
    return RemoteUrl(Scheme.LOCAL, str(path))
