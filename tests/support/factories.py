"""What tests begin with: documents, people and their tokens."""

import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import yaml

from tests.support.catalog import Catalog
from tests.support.installation import PASSWORD, Http

OURS, THEIRS = "signalbox.dev/v1", "agent.wecode.io/v1"
LOGIN = "/api/v1/auth/login?cookie=false"


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in, with the tokens of one session."""

    id: str
    username: str
    access_token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.access_token)

    @property
    def session_id(self) -> str:
        return str(jwt.decode(self.access_token, options={"verify_signature": False})["sid"])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def registered(http: Http, username: str | None = None) -> Person:
    """Somebody new, signed in."""
    username = username or f"user-{uuid.uuid4().hex[:10]}"
    body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
    answer = await http.post("/api/v1/auth/register", json=body)
    assert answer.status_code == 201, answer.text
    return await signed_in(http, username)


async def signed_in(http: Http, username: str, password: str = PASSWORD) -> Person:
    """A session of its own for somebody who is there already."""
    answer = await http.post(LOGIN, json={"username": username, "password": password})
    assert answer.status_code == 200, answer.text
    access_token = str(answer.json()["accessToken"])
    claims = jwt.decode(access_token, options={"verify_signature": False})
    return Person(claims["sub"], username, access_token, answer.json()["refreshToken"])


def document(kind: str, name: Any, spec: Any, *, api: str = OURS, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name} | metadata, "spec": spec}


def text_of(*documents: dict[str, Any]) -> str:
    return str(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False))


async def applied(catalog: Catalog, text: str, **query: Any) -> list[dict[str, Any]]:
    """What became of each document, where all is well."""
    answer = await catalog.apply(text, **query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def refused(answer: httpx.Response, status: int, code: str) -> list[dict[str, Any]]:
    """What was wrong, where something was."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    errors: list[dict[str, Any]] = answer.json().get("errors", [])
    return errors
