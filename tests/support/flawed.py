"""Documents with something wrong, and what is said of it."""

import json
from typing import Any

import httpx

from tests.support.catalog import KINDS, Catalog

MIB = 1024 * 1024
JSON = {"content-type": "application/json"}
HEAD = "apiVersion: signalbox.dev/v1\nkind: Ghost\nmetadata: {name: bad}\nspec:\n  systemPrompt: x\n"
GOOD = HEAD.replace("bad", "good") + "---\n"
BEFORE = GOOD.count("\n")
"""Lines before the second document."""


def refused(
    answer: httpx.Response, status: int = 422, code: str = "validation_failed"
) -> list[dict[str, Any]]:
    """The errors of a problem that is one in every respect."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text[:500]
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text[:500]
    assert problem["status"] == status
    assert problem["type"] == f"urn:signalbox:problem:{code}"
    assert problem["correlationId"] == answer.headers["x-correlation-id"]
    assert len(answer.content) < 256 * 1024, "an answer that can be read"
    errors: list[dict[str, Any]] = problem.get("errors", [])
    return errors


async def send(
    catalog: Catalog, method: str, path: str, body: Any, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Whatever it is, as JSON: also what no client would let through."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = catalog.headers | JSON | (headers or {})
    return await catalog.http.request(method, f"{KINDS}/{path}", content=content, headers=sent)


def laughs() -> str:
    lines = ['  l0: &l0 ["ha", "ha", "ha", "ha", "ha", "ha", "ha", "ha", "ha", "ha"]\n']
    lines += [f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10)]
    return "".join(lines)


def many_nodes() -> str:
    return HEAD + f"  a: [{','.join(['1'] * 190_000)}]\n"
