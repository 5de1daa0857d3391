"""Refuses what is misspelt: a name that a route does not know, in its body or behind the question mark.

Contracts ignore what they do not know, for the sake of versions on the bus. At the edge a person has
written it, and would not be told that it counts for nothing.
"""

import json
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from signalbox_common.contracts.base import FieldError
from signalbox_common.spelling import CODE, UnknownField, names_of, unknown_fields, unknown_names
from signalbox_gateway.errors import UnknownFields
from signalbox_gateway.identity import Asker

GivenBy = Callable[..., Coroutine[Any, Any, Asker]]
_WITH_BODY = ("POST", "PUT", "PATCH")


class Spelling:
    """What one route knows; it is looked at when the route is there."""

    def __init__(self, *, body: bool, query: bool) -> None:
        """Which of the two are the route's to know."""
        self._body = body
        self._query = query
        self._type: Any = None
        self._names: frozenset[str] = frozenset()
        self.refusals = ((422, UnknownFields.code),) if body or query else ()

    def of(self, body_type: Any, dependant: Dependant) -> None:
        """None where it takes no body at all."""
        self._type = body_type
        self._names = frozenset(_query_names(dependant))

    def dependency(self, asker: GivenBy | None) -> Any:
        """Once it is known who asks, where that is needed: strangers are told that first."""
        if asker is None:
            return Depends(self._check)

        async def known(request: Request, _asker: Annotated[Asker, Depends(asker)]) -> None:
            await self._check(request)

        return Depends(known)

    async def _check(self, request: Request) -> None:
        found: list[UnknownField] = []
        if self._query:
            found += unknown_names(self._names, request.query_params)
        if self._body and request.method in _WITH_BODY and await request.body():
            found += self._in_body(await request.json() if self._type is not None else await _said(request))
        if found:
            raise UnknownFields(_errors(found))

    def _in_body(self, value: Any) -> list[UnknownField]:
        if self._type is not None:
            return unknown_fields(self._type, value)
        return unknown_names((), value) if isinstance(value, dict) else []


def check_names(given: Mapping[str, Any], known: Iterable[str]) -> None:
    """For a route that reads its body itself."""
    if found := unknown_names(known, given):
        raise UnknownFields(_errors(found))


def _errors(found: Iterable[UnknownField]) -> list[FieldError]:
    return [FieldError(field=each.field, message=each.message, code=CODE) for each in found]


async def _said(request: Request) -> Any:
    """Where nothing is taken, what is no JSON does not matter."""
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        return None


def _query_names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        kind = parameter.field_info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from names_of(kind)
        else:
            yield parameter.alias
    for below in dependant.dependencies:
        yield from _query_names(below)
