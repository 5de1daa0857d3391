"""The calls that users' scripts make, in their order, with the tool that they make them with."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.support.stack import Stack

WHERE = {"namespace": "default"}
REFS = {
    "ghostRef": {"name": "code-assistant", **WHERE},
    "modelRef": {"name": "gpt-4", **WHERE},
    "shellRef": {"name": "chat-shell", **WHERE},
}
RESOURCES: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "ghosts",
        {
            "metadata": {"name": "code-assistant", **WHERE},
            "spec": {"systemPrompt": "You are a code assistant.", "description": "Helps with code."},
        },
    ),
    (
        "models",
        {
            "metadata": {"name": "gpt-4", **WHERE},
            "spec": {"provider": "openai", "model": "gpt-4", "temperature": 0.7, "maxTokens": 2000},
        },
    ),
    (
        "shells",
        {"metadata": {"name": "chat-shell", **WHERE}, "spec": {"type": "Chat", "description": "Talks."}},
    ),
    ("bots", {"metadata": {"name": "my-coding-bot", **WHERE}, "spec": {**REFS, "description": "Codes."}}),
)


class Curl:
    def __init__(self, url: str) -> None:
        self._url = url
        self.token: str | None = None

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        command = ["curl", "--silent", "--show-error", "--request", method, "--write-out", "\n%{http_code}"]
        if body is not None:
            command += ["--header", "content-type: application/json", "--data", json.dumps(body)]
        if self.token is not None:
            command += ["--header", f"authorization: Bearer {self.token}"]
        done = subprocess.run(
            [*command, self._url + path], capture_output=True, text=True, check=True, timeout=30
        )
        content, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(content) if content else None


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_from_registering_to_a_bot_and_back(stack: Stack) -> None:
    curl = Curl(stack.url)
    person = {"username": "developer", "password": "securepassword123"}
    status, user = curl("POST", "/api/v1/auth/register", person | {"email": "dev@example.com"})
    assert (status, user["username"]) == (201, "developer")
    status, session = curl("POST", "/api/v1/auth/login", person)
    assert (status, session["tokenType"]) == (200, "bearer")
    assert session["expiresIn"] > 0
    curl.token = session["accessToken"]
    plural, bot = RESOURCES[-1]
    status, problem = curl("POST", f"/api/v1/kinds/{plural}", bot)
    assert 400 <= status < 500
    assert "code-assistant" in json.dumps(problem)
    for plural, body in RESOURCES:
        status, made = curl("POST", f"/api/v1/kinds/{plural}", body)
        assert status == 201, made
        assert made["metadata"]["name"] == body["metadata"]["name"]
    assert curl("POST", f"/api/v1/kinds/{plural}", bot)[0] == 409
    status, page = curl("GET", "/api/v1/kinds/bots?namespace=default")
    assert (status, [item["metadata"]["name"] for item in page["items"]]) == (200, ["my-coding-bot"])
    status, found = curl("GET", "/api/v1/kinds/bots/my-coding-bot")
    assert (status, found["spec"]["ghostRef"]["name"]) == (200, "code-assistant")
    assert curl("DELETE", "/api/v1/kinds/bots/my-coding-bot") == (204, None)
    assert curl("GET", "/api/v1/kinds/bots/my-coding-bot")[0] == 404
