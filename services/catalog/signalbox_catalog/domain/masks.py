"""Which values inside a spec are credentials: they belong into the secret store, and `***` into the spec.

What counts depends on three things, and each has its tables below: what a value is called, where it stands,
and what it looks like.

    anywhere              a name that ends as those of credentials do; the credentials of an address
    in an environment     everything but what is called by one of the names that are shown
    among arguments       what follows a flag of credentials, and what looks like one
    items in those        `NAME=value` and `Name: value`, of which only the value is replaced

A placeholder is never a credential. `***` always stands for one that is stored already.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeAlias

from signalbox_catalog.domain.jsons import Json, Pointer, Scalar, check_depth, pointer
from signalbox_catalog.domain.shown_names import is_shown
from signalbox_catalog.errors import BadInput
from signalbox_manifests import Flaw

MASK = "***"
Credential: TypeAlias = Scalar | list[str]
"""A list, where it is a text with addresses: what each of them hides."""

# Names, as `spelled` writes them: `githubToken2` is `_github_token`. An ending without a dash of its own may
# be the end of a word: `PGPASSWORD`.

_KEYS_OF = (
    "api",
    "access",
    "secret",
    "private",
    "auth",
    "signing",
    "encryption",
    "service",
    "account",
    "master",
    "license",
)
_ENDINGS = (
    *(f"{whose}{joint}{key}" for whose in _KEYS_OF for joint in ("_", "") for key in ("key", "keys")),
    *("token", "jwt", "dsn", "_pat", "authorization"),
    *("secret", "secrets", "credential", "credentials", "cookie", "cookies"),
    *("password", "passwords", "passwd", "passphrase", "passphrases", "pwd"),
)
_WORDS = frozenset(
    {
        *("token", "tokens", "key", "keys", "auth", "authorization", "pat", "jwt", "dsn"),
        *("secret", "secrets", "credential", "credentials", "cookie", "cookies"),
        *("password", "passwords", "passwd", "passphrase", "pwd"),
    }
)
_HARMLESS = (
    *("_path", "_file", "_url", "_uri", "_name", "_id", "_ref"),  # say where it is, or which one
    *("_public_key", "_primary_key", "_token_limit"),
)
ENVIRONMENTS = frozenset(
    {
        *("_env", "_envs", "_environment", "_env_vars", "_environment_variables"),
        *("_headers", "_http_headers", "_httpheaders", "_extra_headers"),
        *("_auth", "_credentials"),
    }
)
_ARGUMENTS = frozenset({"_args", "_arguments", "_command", "_cmd"})
_ADDRESSES = frozenset({"_url", "_uri", "_base_url", "_endpoint", "_address", "_command", "_cmd"})
"""Texts that are replaced as a whole where they hold a credential in another way than addresses do."""
_BESIDE = ("description", "type", "required")
"""What else may stand in `{name: N, value: V}`."""
_REFERENCES = ("_ref", "_from")
"""`valueFrom: {secretKeyRef: {key: …}}` stands in an environment, but names things only."""

# Values.

_PLACEHOLDERS = (
    r"\$\{\s*(?:(?:env|input|secrets?):[\w.-]+|[\w.]+)\s*\}",  # one with a default, `${A:-b}`, is a value
    r"\$[A-Z_][A-Z0-9_]*",  # in capitals only, because a password may begin with a dollar
    r"\$?\{\{[^{}]*\}\}",
    r"<[^<>]*>",
    r"%[A-Za-z_]\w*%",
)
_PREFIXES = (
    r"(?:sk_live|rk_live|gh[pousr]|github_pat|sbx)_\w+",
    r"(?:glpat|xox[bpa])-[\w-]+",
    r"sk-[\w-]{6,}",  # shorter ones are other things: `sk-SK`, `sk-learn`
    r"(?:hf|npm)_[A-Za-z0-9]{10,}(?!\w)",  # `npm_config_registry`
    r"pypi-[\w-]{10,}",  # `pypi-server`
    r"(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)",
    r"AIza[\w-]{6,}",
    r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*",
)
_PLACEHOLDER = f"(?:{'|'.join(_PLACEHOLDERS)})"
_LOOKS = (
    rf"(?:^|[\s=:,;\"']|//)(?:{'|'.join(_PREFIXES)})",
    rf"(?:^|[:=]\s*)(?i:bearer|basic)\s+(?!{_PLACEHOLDER})\S+\s*$",
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----",
    rf"://[^\s/:@]*:(?!(?:{_PLACEHOLDER}|\*\*\*)@)[^\s/@]+@",
)
_IN_QUERY = re.compile(r"[?&](?P<name>[A-Za-z_][\w.-]*)=(?P<value>[^&#\s]+)")
_IN_LINE = re.compile(r"(?:^|\s)(?P<name>--?[A-Za-z][\w-]*|[A-Za-z_]\w*(?==))[=\s]\s*(?P<value>[^\s-]\S*)")
_CREDENTIAL = re.compile("|".join(_LOOKS))
_STANDS_FOR = re.compile(rf"\s*(?:(?i:bearer|basic|token)\s+)?{_PLACEHOLDER}\s*")
_ASSIGNMENT = re.compile(
    r"(?P<head>-{0,2}(?P<name>[A-Za-z_][\w.-]*)(?:=|:\s*(?!/)))(?P<value>.*)",  # not `https://`
    re.DOTALL,
)
_FLAG = re.compile(r"--?[A-Za-z][\w-]*")
_FLAGS_OF_ENVIRONMENTS = frozenset({"-e", "--env", "-H", "--header"})
_VARIABLE = re.compile(r"[A-Za-z_]\w*")
_AUTHORITY = re.compile(r"://(?P<info>[^\s/?#\"'<>]*)@")
_QUERY = re.compile(r"[?&;#](?P<name>[A-Za-z_][\w.-]*)=(?P<value>[^&;#\s\"'<>]+)")
_SIGNATURES = ("_sig", "_signature")
_WEB = ("http", "https")
"""Where even a user without a password is a token."""
_HEADED = re.compile(r"(?:-{0,2}[A-Za-z_][\w.-]*(?:=|:\s*(?!/)))+\*\*\*")
_TOKEN = re.compile(r"[^\s\"'<>]+")
_ASSIGNS = re.compile(r"[=:]\s*[^\s=:]")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class MaskedSpec:
    spec: dict[str, Json]
    """With `***` for every credential."""
    found: dict[Pointer, Credential]
    """The credentials as given; of `NAME=value`, the value."""
    kept: frozenset[Pointer]
    """Where `***` was given, for a credential that is stored already."""


def mask(spec: dict[str, Json]) -> MaskedSpec:
    check_depth(spec, "spec")
    found: dict[Pointer, Credential] = {}
    kept: set[Pointer] = set()
    shown: dict[Pointer, str] = {}
    for value, place in _scalars(spec, _Place()):
        hiding = _hiding(value, place)
        if hiding is None:
            continue
        where = pointer(place.path)
        shown[where] = hiding.shown
        if hiding.credential == MASK:
            kept.add(where)
        else:
            found[where] = hiding.credential
    return MaskedSpec(_rebuilt(spec, shown.get), found, frozenset(kept))


def unmasked(spec: dict[str, Json], values: Mapping[Pointer, Credential]) -> dict[str, Json]:
    """With the values back in the places of `***`; those without such a place are left out."""
    return _rebuilt(spec, lambda where, shown: _put_back(shown, values[where]) if where in values else shown)


def _put_back(shown: Scalar, value: Credential) -> Scalar:
    if not isinstance(shown, str):
        return shown
    if isinstance(value, list):
        spans = [span for span in _spans(shown) if span.of(shown) == MASK]
        return _with(shown, spans, value) if len(spans) == len(value) else shown
    if shown == MASK:
        return value
    return f"{shown.removesuffix(MASK)}{value}" if _HEADED.fullmatch(shown) else shown


def carriers(shown: Scalar) -> Sequence[str]:
    """The addresses in a text that hide something: what they hide is meant for these and no others."""
    if not isinstance(shown, str) or shown == MASK:
        return ()
    starts = iter([span.start for span in _spans(shown)])
    start = next(starts, None)
    found = []
    for token in _TOKEN.finditer(shown):
        held = False
        while start is not None and start < token.end():
            held, start = True, next(starts, None)
        if held:
            found.append(token.group())
    return tuple(found)


# Where a value stands.


class _Where(Enum):
    OUTSIDE = auto()
    ARGUMENTS = auto()
    ENVIRONMENT = auto()


@dataclass(frozen=True)
class _Place:
    path: tuple[str | int, ...] = ()
    where: _Where = _Where.OUTSIDE
    named: bool = False
    """Its name says that it is a credential."""
    shown: bool = False
    """Its name says that it is none, even in an environment."""
    item: bool = False
    address: bool = False
    """An address or a command line."""
    entered: bool = False
    """An environment itself: in a list, names may stand alone."""
    whole: bool = False
    """An environment in one text."""

    @property
    def inside(self) -> bool:
        return self.where is not _Where.OUTSIDE

    @property
    def hidden(self) -> bool:
        return self.where is _Where.ENVIRONMENT and not self.shown


def _scalars(value: Json, place: _Place) -> Iterator[tuple[Scalar, _Place]]:
    if isinstance(value, dict):
        for child, where in _members(value, place):
            yield from _scalars(child, where)
    elif isinstance(value, list):
        for child, where in _items(value, place):
            yield from _scalars(child, where)
    else:
        yield value, place


def _members(mapping: dict[str, Json], place: _Place) -> Iterator[tuple[Json, _Place]]:
    pair = _name_in_pair(mapping, place) if place.item else None
    for name, value in mapping.items():
        called = str(mapping[pair]) if pair is not None and name == "value" else name
        named = _named(called, inside=place.inside)
        shown = place.where is _Where.ENVIRONMENT and is_shown(called)
        if pair is not None and name in (pair, *_BESIDE):
            named, shown = False, True
        where = _where(name, value, place)
        entered = where is not place.where
        written = spelled(name)
        yield (
            value,
            _Place(
                path=(*place.path, name),
                where=where,
                named=named,
                shown=shown and not entered,
                entered=entered and where is _Where.ENVIRONMENT,
                address=isinstance(value, str) and written.endswith(tuple(_ADDRESSES)),
                whole=written in ENVIRONMENTS and isinstance(value, str) and _assigns(value),
            ),
        )


def _name_in_pair(mapping: dict[str, Json], place: _Place) -> str | None:
    """Which member is the name in `{name: N, value: V}`."""
    if "value" not in mapping and place.where is not _Where.ENVIRONMENT:
        return None
    return next((member for member in ("name", "key") if isinstance(mapping.get(member), str)), None)


def _items(values: list[Json], place: _Place) -> Iterator[tuple[Json, _Place]]:
    before: Json = None
    for index, value in enumerate(values):
        named = place.named or (place.inside and _is_flag_of(before, value))
        where = _Where.ENVIRONMENT if _is_variable_of(before, value) else place.where
        yield (
            value,
            replace(
                place,
                path=(*place.path, index),
                where=where,
                named=named,
                item=True,
                entered=place.entered and not isinstance(value, list),
            ),
        )
        before = value


def _is_flag_of(flag: Json, value: Json) -> bool:
    """As in `--api-key`, `sk-…`."""
    if not isinstance(flag, str) or not _FLAG.fullmatch(flag) or not _named(flag, inside=False):
        return False
    return not isinstance(value, str) or not value.startswith("-")


def _is_variable_of(flag: Json, value: Json) -> bool:
    """As in `docker run -e`, `NAME=value`."""
    is_flag = isinstance(flag, str) and flag in _FLAGS_OF_ENVIRONMENTS
    return is_flag and isinstance(value, str) and _ASSIGNMENT.fullmatch(value) is not None


def _where(name: str, value: Json, place: _Place) -> _Where:
    written = spelled(name)
    if written.endswith(_REFERENCES) and isinstance(value, dict):
        return _Where.OUTSIDE
    if written in ENVIRONMENTS and isinstance(value, (dict, list)):
        return _Where.ENVIRONMENT
    if not place.inside and written in _ARGUMENTS and isinstance(value, list):
        return _Where.ARGUMENTS
    return place.where


# What a value is.


@dataclass(frozen=True)
class _Hiding:
    shown: str
    credential: Credential


@dataclass(frozen=True)
class _Span:
    start: int
    end: int

    def of(self, text: str) -> str:
        return text[self.start : self.end]


def _hiding(value: Scalar, place: _Place) -> _Hiding | None:
    """What is shown instead, where a value is a credential or holds some."""
    if value == MASK:
        return _Hiding(MASK, MASK)
    if not _says_something(value):
        return None
    if place.named or place.whole:
        return _Hiding(MASK, value)
    if isinstance(value, str):
        return _in_text(value, place)
    return _Hiding(MASK, value) if place.hidden else None


def _in_text(value: str, place: _Place) -> _Hiding | None:
    if place.inside and place.item and (assignment := _Assignment.found(value, place)) is not None:
        return assignment.hiding() or _addresses(value, place)
    name_alone = place.item and place.entered and _VARIABLE.fullmatch(value) is not None
    hidden = place.hidden and not name_alone
    if hidden or ((place.hidden or place.where is _Where.ARGUMENTS) and _looks(value)):
        return _Hiding(MASK, value)
    return _addresses(value, place)


@dataclass(frozen=True)
class _Assignment:
    """`NAME=value`, `--name=value` or `Name: value`."""

    head: str
    name: str
    value: str
    of_environment: bool

    @classmethod
    def found(cls, text: str, place: _Place) -> "_Assignment | None":
        found = _ASSIGNMENT.fullmatch(text)
        if found is None or _looks(found["name"]):
            return None
        head, name, value = found["head"], found["name"], found["value"]
        of_environment = place.where is _Where.ENVIRONMENT
        if not of_environment and head.removesuffix("=") in _FLAGS_OF_ENVIRONMENTS:
            inner = _ASSIGNMENT.fullmatch(value)
            if inner is not None:
                return cls(head + inner["head"], inner["name"], inner["value"], of_environment=True)
        return cls(head, name, value, of_environment)

    def hiding(self) -> _Hiding | None:
        if self.value == MASK:
            return _Hiding(self.head + MASK, MASK)
        if _says_something(self.value) and (self._hidden() or _looks(self.value)):
            return _Hiding(self.head + MASK, self.value)
        return None

    def _hidden(self) -> bool:
        if _named(self.name, inside=True):
            return True
        return self.of_environment and not is_shown(self.name)


def _addresses(text: str, place: _Place) -> _Hiding | None:
    """The credentials of the addresses in a text; all of it, where there are others beside those."""
    spans = _spans(text)
    shown = _with(text, spans, [MASK] * len(spans))
    if (place.address and _holds_one(shown)) or (place.inside and _looks(shown)):
        return _Hiding(MASK, text)
    hidden = [span.of(text) for span in spans]
    if not hidden:
        return None
    if MASK not in hidden:
        return _Hiding(shown, hidden)
    if set(hidden) == {MASK}:
        return _Hiding(shown, MASK)
    where = "spec" + pointer(place.path).replace("/", ".")
    message = "Some addresses here have `***` and some have keys: send all of the keys, or none."
    raise BadInput(Flaw(message, "unknown_secret", where))


def _spans(text: str) -> list[_Span]:
    """Where the credentials of addresses are."""
    if "://" not in text:
        return []
    found = [span for match in _AUTHORITY.finditer(text) if (span := _of_authority(text, match)) is not None]
    taken = 0
    for match in _QUERY.finditer(text):
        written = spelled(match["name"])
        if not (_named(match["name"], inside=True) or written.endswith(_SIGNATURES)):
            continue
        if _says_something(match["value"]):
            found.append(_Span(match.start("value"), match.end("value")))
    found.sort(key=lambda span: span.start)
    apart = []
    for span in found:
        if span.start >= taken:
            apart.append(span)
            taken = span.end
    return apart


def _of_authority(text: str, match: re.Match[str]) -> _Span | None:
    start, end = match.span("info")
    user, colon, password = match["info"].partition(":")
    of_the_web = text[max(0, match.start() - 5) : match.start()].lower().endswith(_WEB)
    if not match["info"] or not _says_something(password or user):
        return None
    if of_the_web or _looks(user) or match["info"] == MASK:
        return _Span(start, end)
    return _Span(start + len(user) + len(colon), end) if password else None


def _with(text: str, spans: Sequence[_Span], parts: Sequence[str]) -> str:
    done = 0
    pieces = []
    for span, part in zip(spans, parts, strict=True):
        pieces += [text[done : span.start], part]
        done = span.end
    return "".join([*pieces, text[done:]])


def _named(name: str, *, inside: bool) -> bool:
    written = spelled(name)
    words = frozenset(written.split("_"))
    if written.endswith(_HARMLESS) or _counts_tokens(written, words):
        return False
    return written.endswith(_ENDINGS) or (inside and not _WORDS.isdisjoint(words))


def _counts_tokens(written: str, words: frozenset[str]) -> bool:
    return written == "_tokens" or ("max" in words and written.endswith(("_token", "_tokens")))


def spelled(name: str) -> str:
    return "".join(f"_{word.lower()}" for word in _WORD.findall(name))


def _assigns(text: str) -> bool:
    return _ASSIGNS.search(text) is not None


def _holds_one(text: str) -> bool:
    """An address or a command line with a credential somewhere in it."""
    parts = (*_IN_QUERY.finditer(text), *_IN_LINE.finditer(text))
    return _looks(text) or any(
        _named(part["name"], inside=False) and part["value"] != MASK and _says_something(part["value"])
        for part in parts
    )


def _says_something(value: Scalar) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and (not _STANDS_FOR.fullmatch(value) or _pretends(value))
    return value is not None and not isinstance(value, bool)


def _pretends(text: str) -> bool:
    """A key in angle brackets is no placeholder."""
    return text.strip().startswith("<") and _looks(text.strip("<> "))


def _looks(text: str) -> bool:
    return _CREDENTIAL.search(text) is not None


def _rebuilt(spec: dict[str, Json], change: Callable[[Pointer, Scalar], Scalar]) -> dict[str, Json]:
    def walked(value: Json, path: tuple[str | int, ...]) -> Json:
        if isinstance(value, dict):
            return {name: walked(child, (*path, name)) for name, child in value.items()}
        if isinstance(value, list):
            return [walked(child, (*path, index)) for index, child in enumerate(value)]
        return change(pointer(path), value)

    return {name: walked(value, (name,)) for name, value in spec.items()}
