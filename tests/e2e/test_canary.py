"""A password that is sent to us is found nowhere afterwards."""

import base64
import json
from pathlib import Path

from tests.support.stack import Stack

CANARY = "canary-7f3a91c2-sings-in-the-mine"


async def test_a_password_stays_in_no_stream_log_event_table_or_dead_letter(own_stack: Stack) -> None:
    own_stack.up()
    async with own_stack.client() as http:
        body = {"username": "canary", "email": "canary@example.com", "password": CANARY}
        key = {"Idempotency-Key": "canary-key"}
        assert (await http.post("/api/v1/auth/register", json=body, headers=key)).status_code == 201
        assert (await http.post("/api/v1/auth/register", json=body, headers=key)).status_code == 409
        assert (await http.post("/api/v1/auth/register", json=body)).status_code == 409
        login = await http.post("/api/v1/auth/login", json=body)
        assert login.status_code == 200
        assert (await http.post("/api/v1/auth/login", data=body)).status_code == 200
        wrong = body | {"username": "somebody-else"}
        assert (await http.post("/api/v1/auth/login", json=wrong)).status_code == 401
        refused = [
            await http.post("/api/v1/auth/register", json=body | {"email": "no address"}),
            await http.post("/api/v1/auth/register", json=body | {"password": [CANARY]}),
            await http.post("/api/v1/auth/register", content=json.dumps(body)[:-1].encode()),
            await http.post("/api/v1/auth/login", json=body | {"username": 7}),
            await http.post(
                "/api/v1/auth/login", content=CANARY.encode(), headers={"Content-Type": "application/json"}
            ),
        ]
        for answer in refused:
            assert 400 <= answer.status_code < 500
            assert CANARY not in answer.text
        token = login.json()["accessToken"]
        me = {"Authorization": f"Bearer {token}"}
        created = await http.post("/api/v1/projects", json={"name": "marker-of-this-test"}, headers=me)
        assert created.status_code == 201
    assert own_stack.down().returncode == 0

    files = [path for path in own_stack.path.rglob("*") if path.is_file()]
    holding_marker = {
        _part(own_stack.path, path) for path in files if b"marker-of-this-test" in path.read_bytes()
    }
    assert holding_marker == {"nats", "postgres"}, "the search does see what is stored"
    secrets = [CANARY.encode(), base64.b64encode(CANARY.encode())[4:-6], CANARY.encode().hex().encode()]
    for path in files:
        content = path.read_bytes()
        for secret in secrets:
            assert secret not in content, path
        assert token.encode() not in content, path


def _part(home: Path, path: Path) -> str:
    return path.relative_to(home).parts[1]
