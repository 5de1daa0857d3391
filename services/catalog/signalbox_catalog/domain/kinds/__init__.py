"""The kinds of resources, one module each: a new kind is a new module with a `KIND` in it."""

import importlib
import pkgutil
from functools import cache

from signalbox_catalog.domain.kinds.base import HOME, Kind, Reference

__all__ = [
    "HOME",
    "Kind",
    "Reference",
    "all_kinds",
    "by_name",
    "by_plural",
    "rank",
]


@cache
def all_kinds() -> tuple[Kind, ...]:
    """What is referred to comes before what refers to it."""
    modules = [
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
        if found.name != "base"
    ]
    left = {kind.name: kind for kind in (module.KIND for module in modules)}
    ordered: list[Kind] = []
    while left:
        ready = sorted(name for name, kind in left.items() if not kind.refers_to & left.keys())
        if not ready:
            raise ValueError(f"the kinds {', '.join(sorted(left))} refer to each other in a circle")
        ordered += [left.pop(name) for name in ready]
    return tuple(ordered)


@cache
def _by_name() -> dict[str, Kind]:
    return {kind.name: kind for kind in all_kinds()}


@cache
def _by_plural() -> dict[str, Kind]:
    return {kind.plural: kind for kind in all_kinds()}


@cache
def _ranks() -> dict[str, int]:
    return {kind.name: number for number, kind in enumerate(all_kinds())}


def by_name(name: str) -> Kind | None:
    return _by_name().get(name)


def by_plural(plural: str) -> Kind | None:
    return _by_plural().get(plural)


def rank(kind: str) -> int:
    """Lower for what is referred to."""
    return _ranks()[kind]
