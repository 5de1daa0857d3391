"""Who opens a transaction says so where it is registered, and answers with what came of it."""

import inspect
from collections.abc import Callable
from types import ModuleType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import pytest

from signalbox_auth import handlers as auth
from signalbox_catalog import handlers as catalog
from signalbox_common.bus import ServiceBus
from signalbox_common.bus.calls import Handler
from signalbox_common.contracts.base import Ask, Command, Request, contracts_of
from signalbox_common.outcomes import Outcome


class Registry:
    """Takes down what a bus is told to serve."""

    def __init__(self) -> None:
        self.changes: list[tuple[type[Request[Any]], Handler, bool]] = []

    def on_ask(
        self, contract: type[Request[Any]], *, own_transaction: bool = False
    ) -> Callable[[Handler], None]:
        return lambda handler: self.changes.append((contract, handler, own_transaction))

    on_command = on_ask

    def on_query(self, *_: object, **__: object) -> Callable[[object], None]:
        return lambda _handler: None

    on_fact = on_facts = on_query


def registered(handlers: ModuleType) -> Registry:
    """All that the module registers, with the classes of its use cases in the place of objects."""
    registry = Registry()
    for name, register in inspect.getmembers(handlers, inspect.isfunction):
        if name.startswith("register_"):
            hints = get_type_hints(register)
            _bus, *use_cases = (hints[parameter] for parameter in inspect.signature(register).parameters)
            register(cast(ServiceBus, registry), *use_cases)
    return registry


@pytest.mark.parametrize("handlers", [auth, catalog], ids=["auth", "catalog"])
def test_an_outcome_comes_from_who_opens_the_transaction(handlers: ModuleType) -> None:
    changes = registered(handlers).changes
    service = handlers.__name__.partition(".")[0].removeprefix("signalbox_")
    of_service = {each for each in contracts_of(Request) if each.owner() == service}
    assert {contract for contract, _, _ in changes} == {
        each for each in of_service if issubclass(each, Ask | Command)
    }
    for contract, handler, own_transaction in changes:
        answered = get_type_hints(handler)["return"]
        parts = get_args(answered) if get_origin(answered) in (Union, UnionType) else (answered,)
        opens = Outcome in {get_origin(part) for part in parts}
        assert opens is own_transaction, contract.__name__
