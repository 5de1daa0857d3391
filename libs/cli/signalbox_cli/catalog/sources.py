"""Files of documents, joined into the one text that is sent, with every line's place in its file."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from signalbox_cli.catalog.errors import Mistake
from signalbox_common.contracts.base import FieldError
from signalbox_common.contracts.catalog import MAX_TEXT

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")
SKILL_MD = "SKILL.md"
MOST_ENTRIES, DEEPEST = 100_000, 64
"""What is looked through below a directory."""
_BLANK = re.compile(r"[ \t\n]*")
_JSON_PART = re.compile(r'(?P<text>"(?:[^"\\]|\\.)*")(?:(?P<blank>\s*):)?|\t')
_ESCAPED = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


@dataclass(frozen=True)
class Source:
    """A file, and what is in it."""

    name: str
    text: str


@dataclass(frozen=True)
class SkillFolder:
    """A folder with a SKILL.md: all below it is the package of a skill, named as the folder is."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.resolve().name


@dataclass(frozen=True)
class Place:
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass
class JoinedText:
    """Many texts as one."""

    lines: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)

    def place(self, line: int) -> Place:
        """What stands on a line of the text, counted from 1."""
        return self.places[min(max(line, 1), len(self.places)) - 1]

    def add(self, line: str, place: Place) -> None:
        self.lines.append(line)
        self.places.append(place)

    def located(self, error: FieldError) -> str:
        """The error with the place that the person knows."""
        where = f"{self.place(error.line)}: " if error.line is not None and self.places else ""
        return f"{where}{error.field}: {error.message}" if error.field else f"{where}{error.message}"


# -- from where -------------------------------------------------------------------------------------------


def collect(named: Sequence[str]) -> list[Source]:
    """What is in files, in directories with all below them but packages, and in what is piped in."""
    return [source for source in gather(named) if isinstance(source, Source)]


def gather(named: Sequence[str]) -> list[Source | SkillFolder]:
    """Documents, and the packages of skills beside them."""
    if not named:
        raise Mistake("say which files: -f FILE, -f DIR or -f -")
    if named.count(STDIN) > 1:
        raise Mistake("what is piped in can be read once only")
    return [source for name in named for source in _sources(name)]


def _sources(name: str) -> Iterator[Source | SkillFolder]:
    if name == STDIN:
        yield _decoded("stdin", sys.stdin.buffer.read(MAX_TEXT + 1))
        return
    path = Path(name)
    try:
        if not path.is_dir():
            yield _decoded(name, _read(path))
            return
        found = sorted(_found(path), key=lambda each: each.path if isinstance(each, SkillFolder) else each)
        if not found:
            raise Mistake(f"there is no {', '.join(SUFFIXES)} file in {name}, nor a folder with a {SKILL_MD}")
        for each in found:
            yield each if isinstance(each, SkillFolder) else _decoded(str(each), _read(each))
    except OSError as error:
        raise Mistake(f"{error.filename or name} cannot be read: {error.strerror}") from None


def _found(top: Path) -> Iterator[Path | SkillFolder]:
    """Documents and skills below a directory; what leads out of it is refused, no special file is read."""
    inside = top.resolve()
    seen = 0
    for folder, folders, files in os.walk(top, onerror=_unreadable):
        at = Path(folder)
        seen += 1 + len(files)
        if seen > MOST_ENTRIES or len(at.relative_to(top).parts) > DEEPEST:
            raise Mistake(f"{top} has more than {MOST_ENTRIES:,} files, or more than {DEEPEST} levels")
        if os.path.lexists(at / SKILL_MD):
            folders.clear()
            yield SkillFolder(at)
            continue
        folders.sort()
        for name in folders:
            if (at / name).is_symlink() and (at / name / SKILL_MD).exists():
                raise Mistake(f"{at / name} is a symbolic link; skills are folders")
        for name in files:
            path = at / name
            if path.suffix not in SUFFIXES or not path.is_file():
                continue
            if not path.resolve().is_relative_to(inside):
                raise Mistake(f"{path} is a symbolic link that leads out of {top}")
            yield path


def _unreadable(error: OSError) -> None:
    raise error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_TEXT + 1)


def _decoded(name: str, raw: bytes) -> Source:
    if len(raw) > MAX_TEXT:
        raise Mistake(f"{name} is larger than {MAX_TEXT // 1024**2} MiB, which is the most at once")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Mistake(f"{name}:{line}: the text is not UTF-8") from None
    return Source(name, text.replace("\r\n", "\n").replace("\r", "\n"))


# -- into one ---------------------------------------------------------------------------------------------


def join(sources: Sequence[Source]) -> JoinedText:
    """The documents of all of them, if they are not too many for one request."""
    whole = JoinedText()
    for source in sources:
        found = _json_documents(source)
        if found is not None:
            for first, lines in found:
                _begin(whole, Place(source.name, first))
                for number, line in enumerate(lines, first):
                    whole.add(line, Place(source.name, number))
        else:
            _add_yaml(whole, source)
    if sources and not whole.lines:
        raise Mistake(f"there are no documents in {', '.join(source.name for source in sources)}")
    size = len(whole.text.encode())
    if size > MAX_TEXT:
        raise Mistake(
            f"the documents have {size:,} bytes together, and {MAX_TEXT:,} is the most at once: "
            "apply them in parts"
        )
    return whole


def _begin(whole: JoinedText, place: Place, mark: str = "---") -> None:
    if whole.lines:
        whole.add(mark, place)


def _add_yaml(whole: JoinedText, source: Source) -> None:
    lines = source.text.removesuffix("\n").split("\n")
    first = next(filter(_says_something, lines), None)
    if first is None:
        return  # nothing but remarks
    if not first.startswith("%"):
        _begin(whole, Place(source.name, 1))
    elif not next(filter(_says_something, reversed(whole.lines)), "...").startswith("..."):
        _begin(whole, Place(source.name, 1), "...")  # directives stand between documents only
    for number, line in enumerate(lines, 1):
        whole.add(line, Place(source.name, number))


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


# -- JSON -------------------------------------------------------------------------------------------------


def _json_documents(source: Source) -> list[tuple[int, list[str]]] | None:
    """The first line and the lines of each, written so that readers of YAML see the same; None for YAML."""
    text = source.text
    if not text.lstrip(" \t\n").startswith(("{", "[")):
        return None
    try:
        return [
            (text.count("\n", 0, start) + 1, _JSON_PART.sub(_for_yaml, text[start:end]).split("\n"))
            for start, end in _parsed(text)
        ]
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        if not source.name.endswith(".json"):
            return None
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise Mistake(f"{source.name}:{line}: this is not valid JSON: {what}") from None


def _parsed(text: str) -> Iterator[tuple[int, int]]:
    """Where each begins and ends."""
    at = _after_blank(text, 0)
    while at < len(text):
        _, end = _DECODER.raw_decode(text, at)
        yield at, end
        at = _after_blank(text, end)


def _after_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _for_yaml(part: "re.Match[str]") -> str:
    """The same value, without what only JSON allows: halves of characters, tabs, colons on the next line."""
    if part["text"] is None:
        return " "
    text = _escaped(json.dumps(json.loads(part["text"]), ensure_ascii=False))
    return text if part["blank"] is None else f"{text}:{part['blank']}"


def _escaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
