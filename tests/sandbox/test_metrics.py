"""What a sandbox uses, as its owners are told."""

from collections.abc import AsyncIterator

import pytest

from signalbox_common.testing import eventually
from tests.support.installation import Installation
from tests.support.sandboxes import SANDBOXES, SandboxScene, sandboxes_of

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(scope="module")
async def scene(shared_installation: Installation) -> AsyncIterator[SandboxScene]:
    async with sandboxes_of(shared_installation) as scene, scene.service():
        yield scene


async def test_what_it_uses_is_told(scene: SandboxScene) -> None:
    made = await scene.create()
    path = f"{SANDBOXES}/{made['id']}/metrics"
    before = (await scene.http.get(path, headers=scene.headers)).json()
    assert before["cpuSeconds"] < 1
    script = (
        "import time\nheld = bytearray(64 << 20)\nopen('file', 'wb').write(b'x' * (20 << 20))\n"
        "begin = time.process_time()\nwhile time.process_time() - begin < 0.5: pass\n"
        "print('worked', flush=True)\ntime.sleep(600)"
    )
    await scene.http.post(
        f"{SANDBOXES}/{made['id']}/processes", json={"argv": ["python3", "-c", script]}, headers=scene.headers
    )

    async def counted() -> bool:
        found = (await scene.http.get(path, headers=scene.headers)).json()
        assert found["cpuSeconds"] - before["cpuSeconds"] >= 0.5
        assert 64 << 20 < found["memoryBytes"] - before["memoryBytes"] < 200 << 20
        assert found["processes"] == before["processes"] + 1
        assert found["diskBytes"] >= 20 << 20
        return True

    await eventually(counted, what="what it uses is counted")
    await scene.said(made["id"], "dd if=/dev/zero of=/tmp/held bs=1M count=30 2>/dev/null")
    now = (await scene.http.get(path, headers=scene.headers)).json()
    assert now["memoryBytes"] - before["memoryBytes"] > 90 << 20, "what lies in /tmp is memory"
    assert now["network"] == {"connections": 0, "denied": 0, "sentBytes": 0, "receivedBytes": 0}
