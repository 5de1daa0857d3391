"""The submodules of a commit, as its `.gitmodules` names them: hostile until it is read strictly."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from signalbox_common import remote_urls
from signalbox_common.remote_urls import RemoteUrl, Scheme
from signalbox_git.command import AnsweredTooMuch, GitDirectory, GitFailed, TookTooLong
from signalbox_git.commits.changes import is_of_git

MOST = 50
_FILE = ".gitmodules"
_LARGEST_FILE = 256 * 1024
_FILE_MODES = ("100644", "100755")
_SUBMODULE = "160000"
_NAME_PART = re.compile(r"[A-Za-z0-9_+@=,][A-Za-z0-9._+@=, -]{0,99}")
_IN_PATH = re.compile(r'[^\x00-\x1f\x7f"\\]+')
_SHOWN = 100
_SECTION = "submodule."


class ModuleRefused(Exception):
    """Carries a sentence for whoever wants the checkout."""


@dataclass(frozen=True)
class Module:
    name: str
    path: str
    commit: str
    url: RemoteUrl


async def modules_of(git: GitDirectory, commit: str, own: RemoteUrl) -> list[Module]:
    """In the order of their paths; `own` is the address that relative ones go on from.

    Raises ModuleRefused. What its owner has switched off (`update = none`) is left out.
    """
    try:
        said = await git.run("ls-tree", "-r", "-z", "--full-tree", commit, within=60.0)
    except (AnsweredTooMuch, TookTooLong) as error:
        raise ModuleRefused("There are too many files to look for submodules.") from error
    links: dict[bytes, str] = {}
    file: tuple[str, str] | None = None
    for mode, name, raw in _entries(said):
        if mode == _SUBMODULE:
            links[raw] = name
        elif raw == _FILE.encode():
            file = (mode, name)
    if not links:
        return []
    if len(links) > MOST:
        raise ModuleRefused(f"There are more than {MOST} submodules.")
    if file is None or file[0] not in _FILE_MODES:
        raise ModuleRefused("There are submodules, and no file .gitmodules that says where they are from.")
    named = _by_path(await _settings(git, file[1]))
    found = []
    for raw, name in links.items():
        path = _checked_path(raw)
        settings = named.get(path)
        if settings is None or "url" not in settings[1]:
            raise ModuleRefused(f"The submodule at {_shown(path)} has no address in .gitmodules.")
        if settings[1].get("update") != "none":
            url = _resolved(path, settings[1]["url"], own)
            found.append(Module(_checked_name(settings[0]), path, name, url))
    _check_names(found)
    return found


def _entries(said: bytes) -> Iterable[tuple[str, str, bytes]]:
    for line in filter(None, said.split(b"\0")):
        head, _, path = line.partition(b"\t")
        mode, _, name = head.decode("ascii").split(" ")
        yield mode, name, path


async def _settings(git: GitDirectory, blob: str) -> dict[str, dict[str, str]]:
    """By the names of submodules; what is said twice counts as it was said last."""
    if int(await git.line("cat-file", "-s", blob)) > _LARGEST_FILE:
        raise ModuleRefused("The file .gitmodules is too large.")
    try:
        said = await git.run("config", f"--blob={blob}", "--no-includes", "-z", "--list")
    except GitFailed as error:
        raise ModuleRefused("The file .gitmodules cannot be read.") from error
    found: dict[str, dict[str, str]] = {}
    for line in said.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = line.partition("\n")
        name, _, setting = key.removeprefix(_SECTION).rpartition(".")
        if key.startswith(_SECTION) and name:
            found.setdefault(name, {})[setting] = value
    return found


def _by_path(settings: Mapping[str, dict[str, str]]) -> dict[str, tuple[str, dict[str, str]]]:
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for name, values in settings.items():
        path = values.get("path")
        if path is None:
            continue
        if path in found:
            raise ModuleRefused(f"Two submodules are at {_shown(path)}.")
        found[path] = (name, values)
    return found


# -- what is taken -------------------------------------------------------------------------------------------


def _checked_path(raw: bytes) -> str:
    """Where it is laid out: git has looked at it as well, and would rather leave something out."""
    path = raw.decode("utf-8", "replace")
    parts = path.split("/")
    if "�" in path or not _IN_PATH.fullmatch(path) or not {"", ".", ".."}.isdisjoint(parts):
        raise ModuleRefused(f"A submodule has a path that is not taken: {_shown(path)}.")
    if is_of_git(raw):
        raise ModuleRefused(f"The path {_shown(path)} of a submodule leads into a repository's own folder.")
    return path


def _checked_name(name: str) -> str:
    """It is the name of a folder, among those of git."""
    parts = name.split("/")
    if not all(map(_NAME_PART.fullmatch, parts)) or is_of_git(name.encode("utf-8", "surrogateescape")):
        raise ModuleRefused(f"A submodule has a name that is not taken: {_shown(name)}.")
    if any(part.endswith((".", " ", ".lock")) for part in parts):
        raise ModuleRefused(f"A submodule has a name that is not taken: {_shown(name)}.")
    return name


def _check_names(found: Iterable[Module]) -> None:
    """Their folders neither are the same, on any file system, nor lie within each other."""
    taken: dict[str, str] = {}
    for module in found:
        if taken.setdefault(module.name.casefold(), module.name) != module.name:
            raise ModuleRefused(f"Two submodules are called {_shown(module.name)}.")
    for name in taken:
        parts = name.split("/")
        if any("/".join(parts[:length]) in taken for length in range(1, len(parts))):
            raise ModuleRefused(f"The folder of the submodule {_shown(name)} lies in that of another one.")


def _resolved(path: str, text: str, own: RemoteUrl) -> RemoteUrl:
    """As any address is read; raises ModuleRefused."""
    try:
        url = _relative(text, own) if text.startswith(("./", "../")) else remote_urls.parse(text)
    except remote_urls.BadUrl as error:
        detail = f"The address of the submodule at {_shown(path)} is not taken: {error}."
        raise ModuleRefused(detail) from error
    if url.scheme is Scheme.LOCAL and own.scheme is not Scheme.LOCAL:
        raise ModuleRefused(f"The submodule at {_shown(path)} is said to be on this machine.")
    return url


def _relative(text: str, own: RemoteUrl) -> RemoteUrl:
    """From the repository's own address, of which the host stays."""
    parts, steps = own.path.strip("/").split("/"), text.rstrip("/").split("/")
    while steps and steps[0] in (".", ".."):
        if steps.pop(0) == "..":
            if not parts:
                raise remote_urls.BadUrl("it leads out of its host")
            parts.pop()
    path = "/".join([*parts, *steps])
    if own.scheme is Scheme.LOCAL:
        return remote_urls.parse(f"/{path}")
    return remote_urls.parse(str(replace(own, path=path)))


def _shown(text: str) -> str:
    return repr(text[:_SHOWN].encode("ascii", "backslashreplace").decode("ascii"))
