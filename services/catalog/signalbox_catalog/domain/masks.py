"""Which values inside a spec are credentials: they belong into the secret store, and `***` into the spec.

What counts depends on three things, and each has its tables below: what a value is called, whether it stands
in an environment (or among arguments, which are read like one), and what it looks like.

    anywhere              a name that ends as those of credentials do
    in an environment     also a name that has a word of credentials in it, and a value that looks like one
    items in there        `NAME=value` and `Name: value` as well, of which only the value is replaced

A placeholder is never a credential. `***` always stands for one that is stored already.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from signalbox_catalog.domain.jsons import Json, Pointer, Scalar, check_depth, pointer

MASK = "***"

# Names, as `_spelled` writes them: `githubToken2` is `_github_token`. An ending without a dash of its own may
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
_ENVIRONMENTS = frozenset(
    {
        *("_env", "_envs", "_environment", "_env_vars", "_environment_variables"),
        *("_headers", "_http_headers", "_httpheaders", "_extra_headers"),
        *("_auth", "_credentials"),
    }
)
_ARGUMENTS = frozenset({"_args", "_arguments", "_command", "_cmd"})
_ADDRESSES = frozenset({"_url", "_uri", "_base_url", "_endpoint", "_address", "_command", "_cmd"})
"""Texts that may hold a credential among other things; such a one is replaced as a whole."""
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
    rf"://[^\s/:@]*:(?!{_PLACEHOLDER}@)[^\s/@]+@",
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
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class MaskedSpec:
    spec: dict[str, Json]
    """With `***` for every credential."""
    found: dict[Pointer, Scalar]
    """The credentials as given; of `NAME=value`, the value."""
    kept: frozenset[Pointer]
    """Where `***` was given, for a credential that is stored already."""


def mask(spec: dict[str, Json]) -> MaskedSpec:
    check_depth(spec, "spec")
    found: dict[Pointer, Scalar] = {}
    kept: set[Pointer] = set()
    shown: dict[Pointer, str] = {}
    for value, place in _scalars(spec, _Place()):
        credential = _credential(value, place)
        if credential is None:
            continue
        head, hidden = credential
        where = pointer(place.path)
        shown[where] = head + MASK
        if hidden == MASK:
            kept.add(where)
        else:
            found[where] = hidden
    return MaskedSpec(_rebuilt(spec, shown.get), found, frozenset(kept))


def unmasked(spec: dict[str, Json], values: Mapping[Pointer, Scalar]) -> dict[str, Json]:
    """With the values back in the places of `***`; those without such a place are left out."""
    return _rebuilt(spec, lambda where, shown: _put_back(shown, values[where]) if where in values else shown)


def _put_back(shown: Scalar, value: Scalar) -> Scalar:
    if not isinstance(shown, str) or not shown.endswith(MASK):
        return shown
    return value if shown == MASK else f"{shown.removesuffix(MASK)}{value}"


# Where a value stands.


@dataclass(frozen=True)
class _Place:
    path: tuple[str | int, ...] = ()
    inside: bool = False
    """In an environment, or among arguments."""
    named: bool = False
    """Its name says that it is a credential."""
    item: bool = False
    address: bool = False
    """An address or a command line."""


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
    pair = _name_in_pair(mapping) if place.item else None
    for name, value in mapping.items():
        named = _named(name, inside=place.inside)
        if pair is not None and name == pair:
            named = False
        elif pair is not None and name == "value":
            named = _named(str(mapping[pair]), inside=place.inside)
        address = isinstance(value, str) and _spelled(name).endswith(tuple(_ADDRESSES))
        yield value, _Place((*place.path, name), _inside(name, value, place), named, address=address)


def _name_in_pair(mapping: dict[str, Json]) -> str | None:
    """Which member is the name in `{name: N, value: V}`."""
    if "value" not in mapping:
        return None
    return next((member for member in ("name", "key") if isinstance(mapping.get(member), str)), None)


def _items(values: list[Json], place: _Place) -> Iterator[tuple[Json, _Place]]:
    before: Json = None
    for index, value in enumerate(values):
        named = place.named or (place.inside and _is_flag_of(before, value))
        yield value, replace(place, path=(*place.path, index), named=named, item=True)
        before = value


def _is_flag_of(flag: Json, value: Json) -> bool:
    """As in `--api-key`, `sk-…`."""
    if not isinstance(flag, str) or not _FLAG.fullmatch(flag) or not _named(flag, inside=False):
        return False
    return not isinstance(value, str) or not value.startswith("-")


def _inside(name: str, value: Json, place: _Place) -> bool:
    spelled = _spelled(name)
    if spelled.endswith(_REFERENCES) and isinstance(value, dict):
        return False
    if spelled in _ENVIRONMENTS and isinstance(value, (dict, list)):
        return True
    return place.inside or (spelled in _ARGUMENTS and isinstance(value, list))


# What a value is.


def _credential(value: Scalar, place: _Place) -> tuple[str, Scalar] | None:
    """What stays visible before it, and the credential."""
    if value == MASK:
        return "", value
    if not _says_something(value):
        return None
    if place.named or (place.address and isinstance(value, str) and _holds_one(value)):
        return "", value
    if not place.inside or not isinstance(value, str):
        return None
    assigned = _assigned(value) if place.item else None
    if assigned is not None:
        return assigned
    return ("", value) if _looks(value) else None


def _assigned(text: str) -> tuple[str, str] | None:
    found = _ASSIGNMENT.fullmatch(text)
    if found is None or _looks(found["name"]):
        return None
    head, name, value = found["head"], found["name"], found["value"]
    if value == MASK:
        return head, value
    if _says_something(value) and (_named(name, inside=True) or _looks(value)):
        return head, value
    return None


def _named(name: str, *, inside: bool) -> bool:
    spelled = _spelled(name)
    words = frozenset(spelled.split("_"))
    if spelled.endswith(_HARMLESS) or _counts_tokens(spelled, words):
        return False
    return spelled.endswith(_ENDINGS) or (inside and not _WORDS.isdisjoint(words))


def _counts_tokens(spelled: str, words: frozenset[str]) -> bool:
    return spelled == "_tokens" or ("max" in words and spelled.endswith(("_token", "_tokens")))


def _spelled(name: str) -> str:
    return "".join(f"_{word.lower()}" for word in _WORD.findall(name))


def _holds_one(text: str) -> bool:
    """An address or a command line with a credential somewhere in it."""
    parts = (*_IN_QUERY.finditer(text), *_IN_LINE.finditer(text))
    return _looks(text) or any(
        _named(part["name"], inside=False) and _says_something(part["value"]) for part in parts
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
