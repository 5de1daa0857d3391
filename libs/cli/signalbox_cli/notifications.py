"""The routes of notifications, as commands use them."""

import time
from collections.abc import Iterator
from typing import Any

from signalbox_cli.records import RecordApi, made, pages

_NOTIFICATIONS = "/api/v1/notifications"
_LOOK = 0.2


class NotificationApi(RecordApi):
    path = _NOTIFICATIONS
    plural = "notifications"

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """With the secret."""
        found: dict[str, Any] = self.http.post(_NOTIFICATIONS, json=body | self._project).json()
        return found

    def rotate(self, notification: str) -> dict[str, Any]:
        """With the new secret."""
        found: dict[str, Any] = self.http.post(f"{_NOTIFICATIONS}/{notification}/rotate").json()
        return found

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
