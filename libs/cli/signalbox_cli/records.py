"""What the routes of all records have in common: pages, names, and answers that come later."""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client

_PAGE = 200


def pages(http: Client, path: str, /, **params: Any) -> Iterator[dict[str, Any]]:
    """All that is listed there; parameters that are None are left out."""
    given = {name: value for name, value in params.items() if value is not None}
    given["limit"] = _PAGE
    while True:
        page = http.get(path, params=given).json()
        yield from page["items"]
        if page["nextCursor"] is None:
            return
        given["cursor"] = page["nextCursor"]


def find(known: Iterable[dict[str, Any]], named: str, what: str) -> dict[str, Any]:
    """The one of that name in any case, or whose id begins or ends so."""
    known, part = list(known), named.lower()
    found = [each for each in known if each["name"].lower() == part]
    found = found or [each for each in known if each["id"].startswith(part) or each["id"].endswith(part)]
    if len(found) != 1:
        raise Mistake(f"{len(found) or 'no'} {what} are called {named!r}, or have such an id")
    return found[0]


def made(
    http: Client, path: str, body: dict[str, Any] | None = None, *, below: str | None = None
) -> dict[str, Any]:
    """What a request has created there, or below another path; also where that outlasts its answer."""
    answer = http.post(path, json=body)
    operation = wait_for(http, answer)
    if operation is not None:
        answer = http.get(f"{below or path}/{operation.resource}")
    found: dict[str, Any] = answer.json()
    return found


class RecordApi:
    """The routes of one kind of records, all of the asker's or those of a project."""

    path: ClassVar[str]
    plural: ClassVar[str]

    def __init__(self, http: Client, project: str | None = None) -> None:
        self.http = http
        self._project = {"projectId": project} if project else {}

    def every(self) -> Iterator[dict[str, Any]]:
        """Newest first."""
        return pages(self.http, self.path, **self._project)

    def find(self, named: str) -> dict[str, Any]:
        return find(self.every(), named, self.plural)

    def change(self, record: str, body: dict[str, Any]) -> dict[str, Any]:
        """As it is then."""
        path = f"{self.path}/{record}"
        wait_for(self.http, self.http.patch(path, json=body))
        return self._now(path)

    def do(self, record: str, what: str) -> dict[str, Any]:
        """`pause` or `resume`, where there is that; the record as it is then."""
        path = f"{self.path}/{record}"
        wait_for(self.http, self.http.post(f"{path}/{what}"))
        return self._now(path)

    def delete(self, record: str) -> None:
        wait_for(self.http, self.http.delete(f"{self.path}/{record}"))

    def _now(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(path).json()
        return found
