"""The package of a skill: a ZIP with a `SKILL.md`, sent by somebody whom nobody has to trust."""

import hashlib
import math
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from signalbox_catalog.domain.archives import Entry, about, chunks, entries, flawed, shown
from signalbox_catalog.errors import BadInput

MAX_PACKAGE = 10 * 1024 * 1024
"""Bytes of the ZIP."""
MAX_UNPACKED = 64 * 1024 * 1024
"""Bytes of all files."""
MAX_FILES = 1000
"""Directories count, too."""
MAX_RATIO = 200
"""How much larger a file may become when it is unpacked, if it is more than `_SMALL` then."""
MAX_SKILL_MD = 256 * 1024
MAX_FRONT_MATTER = 64 * 1024
_SMALL = 1024 * 1024
_LONGEST_NAME, _LONGEST_PATH, _DEEPEST_PATH = 255, 1024, 16
_MOST_EVENTS, _DEEPEST_VALUE = 4000, 16
_SKILL_MD = "SKILL.md"

_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_ANY_MAY_EXECUTE = 0o111
_DOS_DIRECTORY, _DOS_VOLUME = 0x10, 0x08

_CONSTRUCTOR = SafeConstructor()
_YAML: Any = Resolver()
_READERS: Mapping[str, Callable[[yaml.ScalarNode], Any]] = {
    "tag:yaml.org,2002:null": _CONSTRUCTOR.construct_yaml_null,
    "tag:yaml.org,2002:bool": _CONSTRUCTOR.construct_yaml_bool,
    "tag:yaml.org,2002:int": _CONSTRUCTOR.construct_yaml_int,
    "tag:yaml.org,2002:float": _CONSTRUCTOR.construct_yaml_float,
}
"""Whatever else YAML sees in plain text, dates among it, stays the text that it is."""
_LARGEST = 2**63 - 1
"""Of numbers; larger ones do not come back from every JSON as they went in."""


@dataclass(frozen=True)
class PackagedFile:
    path: str
    size: int
    executable: bool
    sha256: str


@dataclass(frozen=True)
class Package:
    """What a package is made of.

    Whoever unpacks it takes what is listed in `files` and nothing else: what macOS adds to every ZIP is
    checked as strictly as the rest, but is neither listed nor in the way of a single top folder.
    """

    sha256: str
    """Of the ZIP as it came."""
    size: int
    unpacked: int
    files: tuple[PackagedFile, ...]
    """Sorted by path, without directories."""
    root: str
    """What every path begins with: nothing, or the single top folder with its slash."""
    front_matter: Mapping[str, Any]
    name: str | None
    description: str


def inspect(raw: bytes) -> Package:
    """What is in the package; raises BadInput for the first thing that is wrong with it."""
    if len(raw) > MAX_PACKAGE:
        raise flawed("package_too_large", f"The package is larger than {MAX_PACKAGE // 1024**2} MiB.")
    found = entries(raw, MAX_FILES)
    _check_paths(found)
    for entry in found:
        _check_kind(entry)
    _check_sizes(found)
    listed = sorted((entry for entry in found if not _passed_over(entry)), key=lambda entry: entry.name)
    skill_md = _skill_md_of(listed)
    unpacked = {entry.name: _file(raw, entry) for entry in found}
    files = tuple(unpacked[entry.name] for entry in listed)
    front_matter = _front_matter(b"".join(chunks(raw, skill_md)), skill_md.name)
    description = _text_of(front_matter, "description", skill_md.name)
    if description is None:
        message = f"The front matter of {skill_md.name} has no description."
        raise flawed("front_matter_no_description", message, skill_md.name, 1)
    return Package(
        sha256=hashlib.sha256(raw).hexdigest(),
        size=len(raw),
        unpacked=sum(file.size for file in files),
        files=files,
        root=skill_md.name.removesuffix(_SKILL_MD),
        front_matter=front_matter,
        name=_text_of(front_matter, "name", skill_md.name),
        description=description,
    )


def _unseen(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


_PATH_RULES: tuple[tuple[str, str, Callable[[str, Sequence[str]], object]], ...] = (
    (
        "path_too_long",
        f"has a path of more than {_LONGEST_PATH} bytes, or a name of more than {_LONGEST_NAME}.",
        lambda path, names: (
            len(path.encode()) > _LONGEST_PATH or any(len(name.encode()) > _LONGEST_NAME for name in names)
        ),
    ),
    (
        "path_too_deep",
        f"lies more than {_DEEPEST_PATH} folders deep.",
        lambda _, names: len(names) > _DEEPEST_PATH,
    ),
    (
        "path_control_character",
        "has a character in its name that cannot be seen.",
        lambda path, _: any(map(_unseen, path)),
    ),
    ("path_backslash", "has a backslash in its name.", lambda path, _: "\\" in path),
    ("path_absolute", "has an absolute path.", lambda path, _: path.startswith("/")),
    ("path_drive", "has a path that begins with a drive.", lambda path, _: re.match(r"[A-Za-z]:", path)),
    ("path_empty_name", "has an empty name in its path.", lambda _, names: "" in names),
    ("path_dots", "has . or .. in its path.", lambda _, names: not {".", ".."}.isdisjoint(names)),
    (
        "path_trailing_character",
        "has a name in its path that ends with a dot or a space.",
        lambda _, names: any(name.endswith(".") or name[-1].isspace() for name in names),
    ),
)


_Folder: TypeAlias = dict[str, "tuple[str, bool, _Folder]"]
"""By folded name: the name, whether it is a folder, and what is in it."""


def _check_paths(found: Sequence[Entry]) -> None:
    """Every path is harmless, and no two could be the same place on any file system."""
    top: _Folder = {}
    own: set[str] = set()
    for entry in found:
        path = entry.name.removesuffix("/")
        names = path.split("/")
        for code, what, broken in _PATH_RULES:
            if broken(path, names):
                raise about(entry.name, code, what)
        if entry.name in own:
            raise about(entry.name, "path_twice", "is in the package twice.")
        own.add(entry.name)
        _place(entry, names, top)


def _place(entry: Entry, names: Sequence[str], folder: _Folder) -> None:
    for depth, name in enumerate(names, 1):
        is_folder = depth < len(names) or entry.name.endswith("/")
        there, there_is_folder, inside = folder.setdefault(_folded(name), (name, is_folder, {}))
        if there != name:
            what = f"has {shown(name)} in its path where another has {shown(there)}, which is too much alike."
            raise about(entry.name, "path_alike", what)
        if there_is_folder != is_folder:
            raise about(entry.name, "path_file_and_folder", "needs to be a file and a folder at once.")
        folder = inside


def _folded(name: str) -> str:
    """Names that fold alike are one name where case or the encoding of accents does not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def _check_kind(entry: Entry) -> None:
    mode, folder = entry.attributes >> 16, entry.name.endswith("/")
    kind = stat.S_IFMT(mode)
    if stat.S_ISLNK(mode):
        raise about(entry.name, "symlink", "is a symbolic link.")
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR} or entry.attributes & _DOS_VOLUME:
        raise about(entry.name, "special_file", "is neither a regular file nor a folder.")
    said_folder = stat.S_ISDIR(mode) or entry.attributes & _DOS_DIRECTORY
    if (stat.S_ISREG(mode) if folder else said_folder) or (folder and entry.size):
        raise about(entry.name, "path_file_and_folder", "says to be a file and a folder at once.")
    if mode & _SPECIAL_BITS:
        raise about(entry.name, "setuid", "has a setuid, setgid or sticky bit.")


def _check_sizes(found: Sequence[Entry]) -> None:
    """By what the ZIP says; `chunks` sees to it that nothing becomes larger."""
    if sum(entry.size for entry in found) > MAX_UNPACKED:
        message = f"The files are larger than {MAX_UNPACKED // 1024**2} MiB together."
        raise flawed("unpacked_too_large", message)
    for entry in found:
        if entry.size > _SMALL and entry.size > MAX_RATIO * entry.packed:
            raise about(
                entry.name, "zip_ratio", f"becomes more than {MAX_RATIO} times as large when unpacked."
            )


def _passed_over(entry: Entry) -> bool:
    names = entry.name.split("/")
    return entry.name.endswith("/") or names[0] == "__MACOSX" or names[-1] == ".DS_Store"


def _skill_md_of(files: Sequence[Entry]) -> Entry:
    paths = {file.name: file for file in files}
    tops = {path.partition("/")[0] for path in paths}
    nested = f"{min(tops)}/{_SKILL_MD}" if len(tops) == 1 else _SKILL_MD
    found = paths.get(_SKILL_MD) or paths.get(nested)
    if found is None:
        message = f"There is no {_SKILL_MD} at the top of the package or in its single top folder."
        raise flawed("no_skill_md", message, _SKILL_MD)
    if found.size > MAX_SKILL_MD:
        raise about(found.name, "skill_md_too_large", f"is larger than {MAX_SKILL_MD // 1024} KiB.")
    return found


def _file(raw: bytes, entry: Entry) -> PackagedFile:
    digest = hashlib.sha256()
    for chunk in chunks(raw, entry):
        digest.update(chunk)
    executable = bool(entry.attributes >> 16 & _ANY_MAY_EXECUTE)
    return PackagedFile(entry.name, entry.size, executable, digest.hexdigest())


def _front_matter(skill_md: bytes, path: str) -> dict[str, Any]:
    try:
        first, *lines = skill_md.decode().split("\n")
    except UnicodeDecodeError:
        raise flawed("skill_md_not_utf8", f"The file {path} is not in UTF-8.", path) from None
    stop = next((number for number, line in enumerate(lines) if line.rstrip(" \t\r") == "---"), None)
    if first.rstrip(" \t\r") != "---" or stop is None:
        message = (
            f"The file {path} must begin with front matter: a line of ---, YAML, another line of ---; "
            "nothing may stand before it, not even a byte order mark."
        )
        raise flawed("no_front_matter", message, path, 1)
    text = "\n".join(lines[:stop])
    if len(text) > MAX_FRONT_MATTER:
        message = f"The front matter of {path} is longer than {MAX_FRONT_MATTER // 1024} Ki characters."
        raise flawed("front_matter_too_large", message, path, 1)
    events = iter(_events(text, path))
    opening = next(events, None)
    if not isinstance(opening, yaml.MappingStartEvent):
        raise flawed("front_matter_not_mapping", f"The front matter of {path} is not a mapping.", path, 2)
    return _mapping(events, path)


def _events(text: str, path: str) -> list[yaml.Event]:
    """The document as libyaml reads it, given up at the first thing that front matter does without."""
    found: list[yaml.Event] = []
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            for code, what, broken in _YAML_RULES:
                if broken(event, found, depth):
                    raise _in_yaml(code, what, event, path)
            if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                found.append(event)
    except yaml.YAMLError as error:
        what, line = "it has a character that YAML does not allow", None
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
            what, line = error.problem or "it cannot be read", error.problem_mark.line + 2
        message = f"The front matter of {path} is not good YAML: {what}."
        raise flawed("front_matter_bad_yaml", message, path, line) from None
    return found


_YAML_RULES: tuple[tuple[str, str, Callable[[yaml.Event, Sequence[yaml.Event], int], object]], ...] = (
    (
        "front_matter_alias",
        "must not use anchors or aliases",
        lambda event, *_: isinstance(event, yaml.NodeEvent) and event.anchor is not None,
    ),
    ("front_matter_tag", "must not use tags", lambda event, *_: getattr(event, "tag", None) is not None),
    (
        "front_matter_bad_yaml",
        "must be a single document",
        lambda event, found, _: found and isinstance(event, yaml.DocumentStartEvent),
    ),
    ("front_matter_too_deep", "is nested too deeply", lambda _, __, depth: depth > _DEEPEST_VALUE),
    ("front_matter_too_large", "has too many values", lambda _, found, __: len(found) >= _MOST_EVENTS),
)


def _in_yaml(code: str, what: str, event: yaml.Event, path: str) -> BadInput:
    line = event.start_mark.line + 2 if event.start_mark else None
    return flawed(code, f"The front matter of {path} {what}.", path, line)


def _mapping(events: Iterator[yaml.Event], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        merge = isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]
        if merge or not isinstance(event, yaml.ScalarEvent):
            raise _in_yaml("front_matter_bad_key", "has a key that is not plain text", event, path)
        key = _text(event, path)
        if key in found:
            raise _in_yaml("front_matter_duplicate_key", f"has the key {shown(key)} twice", event, path)
        found[key] = _value(next(events), events, path)
    return found


def _value(event: yaml.Event, events: Iterator[yaml.Event], path: str) -> Any:
    if isinstance(event, yaml.MappingStartEvent):
        return _mapping(events, path)
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event, path)
    found = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        found.append(_value(event, events, path))
    return found


def _scalar(event: yaml.ScalarEvent, path: str) -> Any:
    tag = _YAML.resolve(yaml.ScalarNode, event.value, event.implicit)
    if tag not in _READERS:
        return _text(event, path)
    try:
        value = _READERS[tag](yaml.ScalarNode(tag, event.value))
    except (ValueError, OverflowError):
        value = math.nan
    if isinstance(value, int | float) and not -_LARGEST <= value <= _LARGEST:
        raise _in_yaml(
            "front_matter_bad_value", "has a number that is too large, or none at all", event, path
        )
    return value


def _text(event: yaml.ScalarEvent, path: str) -> str:
    if "\0" in event.value:
        raise _in_yaml("front_matter_bad_value", "has a NUL character in it", event, path)
    return event.value


def _text_of(front_matter: Mapping[str, Any], key: str, path: str) -> str | None:
    if key not in front_matter:
        return None
    value = front_matter[key]
    if not isinstance(value, str) or not value.strip():
        message = f"In the front matter of {path}, the {key} must be text that is not empty."
        raise flawed(f"front_matter_bad_{key}", message, path)
    return value.strip()
