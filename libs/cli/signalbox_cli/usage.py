"""The routes of usage and quotas, as commands use them."""

from collections.abc import Iterator
from typing import Any

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client
from signalbox_cli.records import pages

_PROJECTS = "/api/v1/projects"


class UsageApi:
    def __init__(self, http: Client, project: str | None = None) -> None:
        self.http = http
        self._named = project

    @property
    def _project(self) -> str:
        """The personal one, if none is named."""
        if self._named is None:
            found = [each["id"] for each in pages(self.http, _PROJECTS) if each["personal"]]
            if not found:
                raise Mistake("there is no personal project: say --project")
            self._named = str(found[0])
        return f"{_PROJECTS}/{self._named}"

    def usage(self, **params: str | None) -> Iterator[dict[str, Any]]:
        return pages(self.http, f"{self._project}/usage", **params)

    def lines(self, **params: str | None) -> Iterator[str]:
        """As a file has them."""
        given = {name: value for name, value in params.items() if value is not None}
        with self.http.stream("GET", f"{self._project}/usage", params=given) as answer:
            yield from answer.iter_text()

    def quotas(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"{self._project}/quotas").json()
        return found

    def set_quotas(self, limits: dict[str, Any]) -> dict[str, Any]:
        """In the place of all that were set before."""
        wait_for(self.http, self.http.put(f"{self._project}/quotas", json=limits))
        return self.quotas()
