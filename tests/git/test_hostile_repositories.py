"""Repositories that want to do harm: nothing is touched, and each is refused, or only looked at."""

import resource
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from signalbox_git.mirrors import reading
from signalbox_git.trees import bounds
from tests.support.hostile_lab import HostileLab
from tests.support.hostile_repositories import LARGE_ROWS, ROWS

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


@pytest.mark.proof
@pytest.mark.parametrize("name", LARGE_ROWS)
async def test_what_comes_of_large_ones(tmp_path: Path, name: str) -> None:
    """Within the memory and the time that are promised, whatever it would unpack to."""
    with HostileLab.at(tmp_path) as found:
        begun = time.monotonic()
        assert await found.outcome(LARGE_ROWS[name]) == LARGE_ROWS[name].ends
        took = time.monotonic() - begun
        found.check_canaries()
        await found.check_others()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"{name}: {took:.1f} s, at most {peak} MiB in any git so far")
    assert took < 120
    assert peak < 2048
