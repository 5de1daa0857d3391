"""The role that keeps sandboxes, once for each module."""

from collections.abc import AsyncIterator

import pytest

from tests.support.node import Node


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[Node]:
    found = Node.new()
    await found.start()
    yield found
    await found.stop()
