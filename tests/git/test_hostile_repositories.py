"""Repositories that want to do harm: nothing is touched, and each is refused, or only looked at."""

import resource
import time
from collections.abc import AsyncIterator

import pytest

from signalbox_git.mirrors import reading
from signalbox_git.trees import bounds
from tests.support.hostile_lab import HostileLab
from tests.support.hostile_repositories import ROWS

_MIB = 1024 * 1024
_WITHIN = 25.0


@pytest.fixture(scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HostileLab]:
    """With bounds that are met sooner than those of an installation."""
    with pytest.MonkeyPatch.context() as patch, HostileLab.at(tmp_path_factory.mktemp("hostile")) as found:
        patch.setattr(reading, "_MEMORY", {resource.RLIMIT_DATA: 192 * _MIB})
        patch.setattr(bounds, "_LIMITS", {resource.RLIMIT_FSIZE: 16 * _MIB})
        yield found
        await found.check_others()


@pytest.mark.parametrize("name", ROWS)
async def test_what_comes_of_it(lab: HostileLab, name: str) -> None:
    begun = time.monotonic()
    assert await lab.outcome(ROWS[name]) == ROWS[name].ends
    assert time.monotonic() - begun < _WITHIN
    lab.check_canaries()
