"""The routes of operations on repositories, and how somebody waits for one."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.client import Client
from signalbox_common.errors import SignalboxError

_PATIENCE = 1800.0
_LOOK = 0.3
_ENDED = ("succeeded", "failed", "cancelled")

Show = Callable[[dict[str, Any]], None]


class RepositoryOperationApi:
    """Of one repository."""

    def __init__(self, http: Client, repository: str) -> None:
        self._http = http
        self._path = f"/api/v1/repositories/{repository}/operations"

    def begin(self, action: dict[str, Any]) -> dict[str, Any]:
        """As the person who is logged in, as far as this token may say who that is."""
        given = {name: value for name, value in action.items() if value is not None}
        found: dict[str, Any] = self._http.post(self._path, json=given).json()
        return found

    def author(self) -> dict[str, str] | None:
        try:
            me = self._http.get("/api/v1/auth/me").json()
        except SignalboxError as error:
            if error.status in (401, 403):
                return None
            raise
        return {"name": me["displayName"], "email": me["email"]} if me["email"] else None

    def newest(self, limit: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http.get(self._path, params={"limit": limit}).json()["items"]
        return found

    def get(self, operation: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.get(f"{self._path}/{operation}").json()
        return found

    def cancel(self, operation: str) -> dict[str, Any]:
        found: dict[str, Any] = self._http.post(f"{self._path}/{operation}/cancel").json()
        return found

    def ended(self, operation: dict[str, Any], show: Show) -> dict[str, Any]:
        """Waits until it is, and shows how far it is meanwhile."""
        last = time.monotonic() + _PATIENCE
        while operation["status"] not in _ENDED:
            if time.monotonic() > last:
                raise Mistake(f"it goes on: signalbox repo operations will tell of {operation['id']}")
            time.sleep(_LOOK)
            try:
                operation = self.get(operation["id"])
            except httpx.TransportError:  # whoever is there again knows how it went on
                continue
            show(operation)
        return operation
