"""The routes of repositories."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client
from signalbox_cli.records import pages

_PATIENCE = 300.0
_LOOK = 0.2


class RepositoryApi:
    """Of one project, or of all that the asker may read."""

    def __init__(self, http: Client, project: str | None = None) -> None:
        self.http = http
        self._project = project

    def add(self, body: dict[str, Any]) -> dict[str, Any]:
        where = {"projectId": self._project} if self._project else {}
        made: dict[str, Any] = self.http.post("/api/v1/repositories", json=where | body).json()
        return made

    def fetched(self, repository: dict[str, Any]) -> dict[str, Any]:
        """Waits until it is, or cannot be."""
        last = time.monotonic() + _PATIENCE
        while repository["status"] == "pending" and time.monotonic() < last:
            time.sleep(_LOOK)
            repository = self.http.get(f"/api/v1/repositories/{repository['id']}").json()
        return repository

    def every(self) -> Iterator[dict[str, Any]]:
        return pages(self.http, "/api/v1/repositories", projectId=self._project)

    def find(self, name: str) -> dict[str, Any]:
        """By its id, the beginning of one, or its name."""
        try:
            found: dict[str, Any] = self.http.get(f"/api/v1/repositories/{uuid.UUID(name)}").json()
        except ValueError:
            fits = [
                each
                for each in self.every()
                if each["name"].lower() == name.lower() or each["id"].startswith(name)
            ]
            if len(fits) != 1:
                raise Mistake(f"{len(fits) or 'no'} repositories are called {name!r}") from None
            return fits[0]
        return found

    def ask(self, repository: str, what: str, /, **params: Any) -> Any:
        """What is in it, as JSON."""
        given = {name: value for name, value in params.items() if value is not None}
        return self.http.get(f"/api/v1/repositories/{repository}/{what}", params=given).json()

    def content(self, repository: str, what: str, /, **params: Any) -> bytes:
        """The same as bytes."""
        given = {name: value for name, value in params.items() if value is not None}
        return self.http.get(f"/api/v1/repositories/{repository}/{what}", params=given).content

    def test(self, repository: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.post(f"/api/v1/repositories/{repository}/test").json()
        return found

    def delete(self, repository: str) -> None:
        wait_for(self.http, self.http.delete(f"/api/v1/repositories/{repository}"))
