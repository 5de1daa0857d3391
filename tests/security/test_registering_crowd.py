"""However many register at once, whoever has an account signs in."""

import asyncio
import uuid

import pytest

from signalbox_common.testing import running
from tests.support.installation import PASSWORD, Installation

pytestmark = pytest.mark.fresh  # its passwords take long

LOGIN, REGISTER = "/api/v1/auth/login", "/api/v1/auth/register"
CROWD = 60


async def test_a_crowd_that_registers_keeps_nobody_from_signing_in(installation: Installation) -> None:
    bounds = {"argon2_time": 4, "argon2_memory_kib": 19_456, "argon2_queue": 20, "argon2_register_queue": 5}
    async with running(installation.auth(**bounds)), installation.gateway() as http:
        await http.sign_up("somebody")

        async def sign_in() -> None:
            body = {"username": "somebody", "password": PASSWORD}
            answer = await http.post(LOGIN, json=body)
            assert answer.status_code == 200, answer.text

        async def register() -> int:
            name = f"bot-{uuid.uuid4().hex[:12]}"
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
            answer = await http.post(REGISTER, json=body)
            assert answer.status_code != 503 or answer.headers["retry-after"]
            return answer.status_code

        crowd = [asyncio.create_task(register()) for _ in range(CROWD)]
        await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
        await sign_in()
        statuses = set(await asyncio.gather(*crowd))
    assert statuses == {201, 503}
