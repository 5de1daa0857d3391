"""Names that nobody knows in what somebody sent, each with the one that was probably meant.

Messages on the bus ignore what they do not know, for the sake of versions. A person who misspells a field
would not be told: where people send something, it is looked through first.
"""

import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import islice
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo

CODE = "unknown_field"
MOST = 20
"""That are told of one document: more than that nobody reads."""
_LONGEST = 100
"""Characters of a name that are looked at, and repeated."""
_SEQUENCES = (list, tuple, set, frozenset)
_UNIONS = (Union, types.UnionType)


@dataclass(frozen=True)
class UnknownField:
    path: tuple[str | int, ...]
    nearest: str | None
    """The name that was probably meant, if there is one like it."""

    @property
    def field(self) -> str:
        return ".".join(str(part)[:_LONGEST] for part in self.path)

    @property
    def message(self) -> str:
        meant = f" Did you mean {self.nearest}?" if self.nearest is not None else ""
        return f"There is no such field.{meant}"


def unknown_fields(annotation: Any, value: Any, *, kept: bool = False) -> list[UnknownField]:
    """What a value has that its type does not name; `kept` says to tell also of what the type keeps."""
    return list(islice(_unknown(annotation, value, (), kept), MOST))


def unknown_names(known: Iterable[str], given: Iterable[str]) -> list[UnknownField]:
    """The same of names that stand side by side."""
    known = frozenset(known)
    missing = (name for name in given if name not in known)
    return [UnknownField((name,), nearest(name, known)) for name in islice(missing, MOST)]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Without regard to case, dashes and underscores."""
    plain = {_plain(each): each for each in known}
    found = get_close_matches(_plain(name[:_LONGEST]), plain, n=1)
    return plain[found[0]] if found else None


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _unknown(annotation: Any, value: Any, path: tuple[str | int, ...], kept: bool) -> Iterator[UnknownField]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if not isinstance(value, dict | list) or not _has_fields(annotation):
        return
    if origin is Annotated:
        yield from _unknown(arguments[0], value, path, kept)
    elif origin in _UNIONS:
        yield from _of_union(arguments, value, path, kept)
    elif isinstance(value, list) and isinstance(origin, type) and issubclass(origin, _SEQUENCES):
        for number, item in enumerate(value):
            yield from _unknown(arguments[0], item, (*path, number), kept)
    elif isinstance(value, dict) and isinstance(origin, type) and issubclass(origin, Mapping):
        for name, item in value.items():
            yield from _unknown(arguments[1], item, (*path, name), kept)
    elif isinstance(value, dict) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _of_model(annotation, value, path, kept)


@cache
def _has_fields(annotation: Any) -> bool:
    """Whether there is a model anywhere in it: of everything else, nothing is unknown."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return False
    return any(map(_has_fields, arguments[:1] if origin is Annotated else arguments))


def _of_model(
    model: type[BaseModel], value: dict[str, Any], path: tuple[str | int, ...], kept: bool
) -> Iterator[UnknownField]:
    names = names_of(model)
    tells = kept or model.model_config.get("extra") != "allow"
    for name, item in value.items():
        field = names.get(name)
        if field is not None:
            yield from _unknown(field.annotation, item, (*path, name), kept)
        elif tells:
            yield UnknownField((*path, name), nearest(name, _written(model)))


def _of_union(
    options: tuple[Any, ...], value: Any, path: tuple[str | int, ...], kept: bool
) -> Iterator[UnknownField]:
    """As the one of them that it comes closest to, with what says which one it is before all else."""
    fitting = [option for option in options if option is not type(None)]
    found = [
        (_mismatches(option, value), list(islice(_unknown(option, value, path, kept), MOST)))
        for option in fitting
    ]
    if found:
        yield from min(found, key=lambda each: (each[0], len(each[1])))[1]


def _mismatches(option: Any, value: Any) -> int:
    """Fields that have one of a few values, and another one here; a mapping is none of what is no model."""
    if get_origin(option) is Annotated:
        option = get_args(option)[0]
    if get_origin(option) in _UNIONS:
        return min(_mismatches(each, value) for each in get_args(option))
    if get_origin(option) is Literal:
        return 0 if value in get_args(option) else 1
    if not isinstance(value, dict) or not (isinstance(option, type) and issubclass(option, BaseModel)):
        takes = get_origin(option) or option
        fits = not isinstance(takes, type) or isinstance(value, takes)
        return 0 if fits else 1
    return sum(
        1
        for name, field in names_of(option).items()
        if name in value
        and get_origin(field.annotation) is Literal
        and value[name] not in get_args(field.annotation)
    )


@cache
def names_of(model: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Every name that a field of it may be given by."""
    by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
    found: dict[str, FieldInfo] = {}
    for name, field in model.model_fields.items():
        aliases = _aliases(field)
        for each in (*aliases, *((name,) if by_name or not aliases else ())):
            found[each] = field
    return found


@cache
def _written(model: type[BaseModel]) -> frozenset[str]:
    """As they are called in the documentation."""
    return frozenset((*_aliases(field), name)[0] for name, field in model.model_fields.items())


def _aliases(field: FieldInfo) -> tuple[str, ...]:
    said = field.validation_alias
    if isinstance(said, AliasChoices):
        return tuple(choice for choice in said.choices if isinstance(choice, str))
    return (said,) if isinstance(said, str) else ()
