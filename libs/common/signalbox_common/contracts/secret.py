"""Which fields of a message are secret, as their types say: they travel, and are shown nowhere else."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ForwardRef, Literal, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

_SECRETS = (SecretStr, Secret)
_MANY = (list, tuple, set, frozenset)


@cache
def secret_fields(model: type[BaseModel]) -> frozenset[str]:
    """The fields that hold secrets themselves, in containers too; not those with models that do."""
    return frozenset(
        name
        for name, field in model.model_fields.items()
        if any(issubclass(leaf, _SECRETS) for leaf in _leaves(field.annotation))
    )


def carries_secrets(model: type[BaseModel]) -> bool:
    """Whether there may be a secret anywhere in it."""
    seen: set[type[BaseModel]] = set()
    waiting = [model]
    while waiting:
        here = waiting.pop()
        if here in seen:
            continue
        seen.add(here)
        if secret_fields(here):
            return True
        for field in here.model_fields.values():
            waiting += [leaf for leaf in _leaves(field.annotation) if issubclass(leaf, BaseModel)]
    return False


def revealed(value: Any, dumped: Any) -> Any:
    """What was dumped as JSON, with the secrets themselves where it has asterisks."""
    if isinstance(value, _SECRETS):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        names = _names(value)
        return {key: revealed(getattr(value, names[key]), each) for key, each in dumped.items()}
    if isinstance(value, _MANY):
        return [revealed(own, each) for own, each in zip(value, dumped, strict=True)]
    if isinstance(value, Mapping):
        pairs = zip(value.values(), dumped.items(), strict=True)
        return {key: revealed(own, each) for own, (key, each) in pairs}
    return dumped


def without_secrets(value: Any, dumped: Any) -> Any:
    """What was dumped as JSON, without the fields that are secret."""
    if isinstance(value, BaseModel):
        names, hidden = _names(value), secret_fields(type(value))
        return {
            key: without_secrets(getattr(value, names[key]), each)
            for key, each in dumped.items()
            if names[key] not in hidden
        }
    if isinstance(value, _MANY):
        return [without_secrets(own, each) for own, each in zip(value, dumped, strict=True)]
    if isinstance(value, Mapping):
        pairs = zip(value.values(), dumped.items(), strict=True)
        return {key: without_secrets(own, each) for own, (key, each) in pairs}
    return dumped


def _names(value: BaseModel) -> dict[str, str]:
    """The fields by what they are called on the wire."""
    return {field.serialization_alias or name: name for name, field in type(value).model_fields.items()}


def _leaves(annotation: Any) -> Iterator[type]:
    """The classes that an annotation is made of."""
    origin = get_origin(annotation)
    if origin is Literal:
        return
    if isinstance(annotation, str | ForwardRef):
        raise TypeError(f"{annotation} must be defined before it is referred to")
    if annotation is SecretBytes:
        raise TypeError("bytes do not travel in JSON: a secret is a SecretStr")
    if isinstance(origin or annotation, type):
        yield origin or annotation
    for argument in get_args(annotation)[: 1 if origin is Annotated else None]:
        yield from _leaves(argument)
