"""One stack for the tests that only use it; those that break one bring their own."""

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, new_home


def _a_stack() -> Iterator[Stack]:
    stack = Stack(new_home())
    try:
        yield stack
    finally:
        stack.down()
        left = [process.cmdline() for process in stack.processes()]
        stack.remove()
        assert left == []


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    for stack in _a_stack():
        stack.up()
        yield stack


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """Not started yet."""
    yield from _a_stack()
