"""The routes of pull requests, and of the credentials that their forges are asked with."""

from collections.abc import Iterator
from typing import Any

import httpx

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client
from signalbox_cli.records import pages

_PULLS, _CREDENTIALS = "/api/v1/pull-requests", "/api/v1/git-credentials"


class PullRequestApi:
    def __init__(self, http: Client, project: str | None = None) -> None:
        self.http = http
        self._project = {"projectId": project} if project else {}

    def every(self, repository: str | None, state: str | None) -> Iterator[dict[str, Any]]:
        """Newest first."""
        return pages(self.http, _PULLS, repositoryId=repository, state=state, **self._project)

    def find(self, repository: str, number: int) -> dict[str, Any]:
        """The one of that number there."""
        for each in self.every(repository, None):
            if each["number"] == number:
                return each
        raise Mistake(f"nothing is known here of a pull request {number}")

    def open(self, repository: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.http.post(f"/api/v1/repositories/{repository}/pull-requests", json=body)
        if not wait_for(self.http, answer):
            made: dict[str, Any] = answer.json()
            return made
        return next(each for each in self.every(repository, None) if each["head"] == body["head"])

    def change(self, pull_request: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._settled(pull_request, self.http.patch(f"{_PULLS}/{pull_request}", json=body))

    def close(self, pull_request: str) -> dict[str, Any]:
        return self._settled(pull_request, self.http.post(f"{_PULLS}/{pull_request}/close"))

    def refresh(self, pull_request: str) -> dict[str, Any]:
        return self._settled(pull_request, self.http.post(f"{_PULLS}/{pull_request}/refresh"))

    def _settled(self, pull_request: str, answer: httpx.Response) -> dict[str, Any]:
        if wait_for(self.http, answer):
            answer = self.http.get(f"{_PULLS}/{pull_request}")
        found: dict[str, Any] = answer.json()
        return found

    # -- credentials of hosts --------------------------------------------------------------------------------

    def credentials(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get(_CREDENTIALS, params=self._project).json()["items"]
        return found

    def add_credential(self, body: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.http.post(_CREDENTIALS, json=self._project | body).json()
        return made

    def credential(self, host: str) -> dict[str, Any]:
        for each in self.credentials():
            if host in (each["host"], each["id"]):
                return each
        raise Mistake(f"there is no credential for {host!r}")

    def visible(self, credential: str, limit: int) -> list[dict[str, Any]]:
        path = f"{_CREDENTIALS}/{credential}/repositories"
        found: list[dict[str, Any]] = self.http.get(path, params={"limit": limit}).json()["items"]
        return found

    def remove_credential(self, credential: str) -> None:
        wait_for(self.http, self.http.delete(f"{_CREDENTIALS}/{credential}"))
