"""What routes share: the answers that follow from contracts, bounds of bodies, and preconditions."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request as HttpRequest

from signalbox_common.contracts import auth as contract
from signalbox_common.contracts.base import Ask, Command, Query, Request
from signalbox_common.contracts.refusals import refusals_of
from signalbox_common.contracts.sandbox import CreateSandbox
from signalbox_common.errors import Invalid
from signalbox_gateway import openapi
from signalbox_gateway.app import ROUTES
from signalbox_gateway.routes import bodies
from signalbox_gateway.routes.bodies import Route
from signalbox_gateway.routes.here import Here, Sender
from signalbox_gateway.routes.preconditions import number_of, version_of
from signalbox_gateway.routes.router import Routes

SENDING = [
    route for module in ROUTES for route in module.routes.routes if isinstance(route, Route) and route.sends
]


def _operations(*routers: Routes) -> dict[str, dict[str, Any]]:
    app = FastAPI(openapi_url="/openapi.json")
    for router in routers:
        app.include_router(router)
    openapi.install(app)
    paths = app.openapi()["paths"]
    return {f"{method} {path}": found for path, item in paths.items() for method, found in item.items()}


def _codes(response: dict[str, Any]) -> set[str]:
    assert response["$ref"] == "#/components/responses/Problem"
    return set(re.findall(r"`([a-z_]+)`", response["description"]))


def test_a_route_is_documented_with_all_that_its_contracts_may_be_refused_with() -> None:
    operations = _operations(*(module.routes for module in ROUTES))
    assert len(SENDING) > 50
    for route in SENDING:
        method = next(iter(route.methods or ()))
        responses = operations[f"{method.lower()} {route.path}"]["responses"]
        kinds = [kind for kind in route.sends if issubclass(kind, Request)]
        later = any(issubclass(kind, Command) for kind in kinds) or CreateSandbox in kinds
        assert ("202" in responses) is later, route.path
        assert ("504" in responses) is any(issubclass(kind, Ask) for kind in kinds), route.path
        assert _codes(responses["503"]) >= {"unavailable"}
        for kind in kinds:
            for code, status in kind.refusals.items():
                assert code in _codes(responses[str(status)]), route.path


def test_a_route_of_one_line_says_it_all() -> None:
    routes = Routes("/things", "things")

    @routes.on("POST", "", contract.AddMember, status=201)
    async def add(here: Here, body: contract.AddMember) -> None:
        """Adds one."""

    operation = _operations(routes)["post /things"]
    assert set(operation["responses"]) == {
        *("201", "202", "400", "401", "403", "404", "409", "413", "415", "422", "429", "503")
    }
    assert _codes(operation["responses"]["409"]) == {"already_member"}
    assert refusals_of(contract.AddMember)["already_member"] == 409
    assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}
    assert operation["security"]


async def test_a_route_sends_only_what_it_says() -> None:
    scope = {"type": "http", "route": SENDING[0]}
    nobody: Any = None
    other: Query[Any] = next(
        kind for kind in (contract.GetMe(), contract.ListTokens()) if type(kind) not in SENDING[0].sends
    )
    with pytest.raises(RuntimeError, match="does not say"):
        await Sender(HttpRequest(scope), nobody).answer(other)


def test_larger_bodies_are_said_with_their_routes() -> None:
    limits = bodies.limits(module.routes for module in ROUTES)

    def of(path: str) -> int | None:
        return next((most for route, most in limits if route.fullmatch(path)), None)

    assert of("/api/v1/apply") == 1024 * 1024
    assert of("/api/v1/kinds/skills/x/package") == 10 * 1024 * 1024
    for path in ("/api/v1/apply/", "/api/v1/kinds/skills/x/y/package", "/api/v1/projects", "/"):
        assert of(path) is None


@pytest.mark.parametrize(
    ("if_match", "version"),
    [
        (None, None),
        ("*", None),
        (" * ", None),
        ('"17"', "17"),
        ('W/"17"', "17"),
        ("17", "17"),
        (' "17" ', "17"),
    ],
)
def test_an_etag_is_taken_as_it_was_given(if_match: str | None, version: str | None) -> None:
    assert version_of(if_match) == version
    assert number_of(if_match) == (None if version is None else int(version))


@pytest.mark.parametrize(
    "if_match", ["", '""', "nonsense", '"a"', '"1", "2"', '"-1"', f'"{"9" * 21}"', '"٣"']
)
def test_what_is_no_etag_is_refused(if_match: str) -> None:
    with pytest.raises(Invalid) as refused:
        version_of(if_match)
    assert refused.value.code == "bad_etag"
