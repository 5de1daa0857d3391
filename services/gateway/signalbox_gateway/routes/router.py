"""Routes that say which contracts they send; what they may answer follows from those."""

from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel

from signalbox_common.contracts.base import Empty, GrantScope
from signalbox_gateway.identity import current_asker
from signalbox_gateway.routes import answers
from signalbox_gateway.routes.answers import Code, Contract, Responses
from signalbox_gateway.routes.bodies import JSON, Route, taking
from signalbox_gateway.routes.spelled import GivenBy, Spelling

E = TypeVar("E", bound=Callable[..., Any])

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="Makes a repeat of this request harmless: it is answered with the first one's answer.",
    ),
]


async def _idempotency_key(_key: IdempotencyKey = None) -> None:
    """Shows it in OpenAPI; whoever sends a command reads it."""


class Routes(APIRouter):
    def __init__(self, prefix: str, tag: str, *, takes: Collection[str] = (JSON,)) -> None:
        super().__init__(prefix=prefix, tags=[tag], route_class=taking(takes))
        self._takes = takes

    def on(
        self,
        method: str,
        path: str,
        *sends: Contract,
        status: int | None = None,
        reply: type[BaseModel] | None = None,
        grant: GrantScope | None = None,
        takes: Collection[str] | Literal["anything"] | None = None,
        max_body: int | None = None,
        body: dict[str, Any] | None = None,
        also: Iterable[Code] = (),
        shows: Responses | None = None,
        asker: GivenBy = current_asker,
        any_query: bool = False,
        **options: Any,
    ) -> Callable[[E], E]:
        """Registers what sends these contracts, the one that it is about first.

        The reply is the contract's, with 200, or with 204 where that is `Done`. `grant` is for routes that
        send nothing, or ask more of somebody than the contract does. `takes`, `max_body` and `body` are about
        the request's body, which a route that takes anything looks at itself. `also` names what the route
        itself refuses with, `shows` what else it answers. `asker` finds out who asks, where that is needed;
        `any_query` is for routes that pass on whatever is behind the question mark.
        """
        contract = sends[0] if sends else None
        media = self._takes if takes is None else () if takes == "anything" else takes
        if status is None:
            status = 204 if contract is not None and contract.reply is Empty else 200
        if grant is None:
            grant = contract.grant if contract is not None else GrantScope.NONE
        spelling = Spelling(body=body is None and JSON in media, query=not any_query)
        also = (*also, *spelling.refusals)
        responses = answers.documented(method, sends, grant, also, json=JSON in media) | (shows or {})
        if status == 204:
            responses[204] = {"description": "Done."}
        if reply is None and contract is not None and status != 204 and "response_class" not in options:
            reply = contract.reply
        if reply is not None:
            options.setdefault("response_model", reply)
        options["dependencies"] = [spelling.dependency(asker if grant is not GrantScope.NONE else None)]
        if answers.takes_key(method, sends):
            options["dependencies"].append(Depends(_idempotency_key))
        if body is not None:
            options["openapi_extra"] = {"requestBody": body}

        def register(endpoint: E) -> E:
            self.add_api_route(
                path,
                endpoint,
                methods=[method],
                status_code=status,
                responses=responses,
                route_class_override=taking(media, max_body, sends),
                **options,
            )
            route = self.routes[-1]
            if isinstance(route, Route):
                taken = route.body_field
                spelling.of(taken.field_info.annotation if taken is not None else None, route.dependant)
                if taken is None and body is None:
                    route.responses.pop(400, None)  # it reads no JSON
            return endpoint

        return register
