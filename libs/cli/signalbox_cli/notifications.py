"""The routes of notifications, as commands use them."""

import time
from collections.abc import Iterator
from typing import Any

from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client
from signalbox_cli.records import find, made, pages

_NOTIFICATIONS = "/api/v1/notifications"
_LOOK = 0.2


class NotificationApi:
    def __init__(self, http: Client, project: str | None = None) -> None:
        self.http = http
        self._project = {"projectId": project} if project else {}

    def every(self) -> Iterator[dict[str, Any]]:
        """Newest first."""
        return pages(self.http, _NOTIFICATIONS, **self._project)

    def find(self, named: str) -> dict[str, Any]:
        return find(self.every(), named, "notifications")

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """With the secret."""
        found: dict[str, Any] = self.http.post(_NOTIFICATIONS, json=body | self._project).json()
        return found

    def change(self, notification: str, body: dict[str, Any]) -> dict[str, Any]:
        path = f"{_NOTIFICATIONS}/{notification}"
        wait_for(self.http, self.http.patch(path, json=body))
        return self._now(path)

    def do(self, notification: str, what: str) -> dict[str, Any]:
        """`pause` or `resume`; the notification as it is then."""
        path = f"{_NOTIFICATIONS}/{notification}"
        wait_for(self.http, self.http.post(f"{path}/{what}"))
        return self._now(path)

    def rotate(self, notification: str) -> dict[str, Any]:
        """With the new secret."""
        found: dict[str, Any] = self.http.post(f"{_NOTIFICATIONS}/{notification}/rotate").json()
        return found

    def delete(self, notification: str) -> None:
        wait_for(self.http, self.http.delete(f"{_NOTIFICATIONS}/{notification}"))

    def test(self, notification: str) -> dict[str, Any]:
        """The delivery of a ping."""
        path = f"{_NOTIFICATIONS}/{notification}"
        return made(self.http, f"{path}/test", below=f"{path}/deliveries")

    def deliveries(self, notification: str, status: str | None = None) -> Iterator[dict[str, Any]]:
        """Newest first."""
        return pages(self.http, f"{_NOTIFICATIONS}/{notification}/deliveries", status=status)

    def redeliver(self, notification: str, delivery: str) -> dict[str, Any]:
        path = f"{_NOTIFICATIONS}/{notification}/deliveries"
        return made(self.http, f"{path}/{delivery}/redeliver", below=path)

    def tried(self, delivery: dict[str, Any], within: float) -> dict[str, Any]:
        """What came of the try that it waits for, if that is known in time."""
        path = f"{_NOTIFICATIONS}/{delivery['notificationId']}/deliveries/{delivery['id']}"
        deadline, found = time.monotonic() + within, delivery
        while found["attempts"] == delivery["attempts"] and time.monotonic() < deadline:
            time.sleep(_LOOK)
            found = self._now(path)
        return found

    def _now(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(path).json()
        return found


def state_of(notification: dict[str, Any]) -> str:
    if notification["paused"]:
        return f"paused: {notification['reason']}" if notification["reason"] else "paused"
    failures = notification["failures"]
    return f"on, {failures} failed in a row" if failures else "on"


def told(delivery: dict[str, Any]) -> str:
    """What came of it, in a line."""
    parts = [delivery["status"]]
    if delivery["httpStatus"] is not None:
        parts.append(str(delivery["httpStatus"]))
    if delivery["durationMs"] is not None:
        parts.append(f"{delivery['durationMs']} ms")
    return ", ".join(parts) + (f": {delivery['reason']}" if delivery["reason"] else "")
