"""People and invitations, as administrators and owners see them."""

from collections.abc import Iterator
from typing import Any

from signalbox_cli.catalog.errors import Mistake
from signalbox_cli.catalog.operations import wait_for
from signalbox_cli.client import Client

USERS = "/api/v1/users"
_PAGE = 200


class UserApi:
    """With a project, invitations are those into it."""

    def __init__(self, http: Client, project: str | None = None) -> None:
        self.http = http
        self._invitations = f"/api/v1/projects/{project}/invitations" if project else f"{USERS}/invitations"

    def every(self, search: str | None = None) -> Iterator[dict[str, Any]]:
        yield from self._pages(USERS, {"q": search} if search else {})

    def reset_password(self, username: str, *, mail: bool) -> dict[str, Any]:
        path = f"{USERS}/{self._id_of(username)}/password-reset"
        made: dict[str, Any] = self.http.post(path, json={"mail": mail}).json()
        return made

    def invite(self, wanted: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = self.http.post(self._invitations, json=wanted).json()
        return made

    def invitations(self) -> Iterator[dict[str, Any]]:
        yield from self._pages(self._invitations, {})

    def revoke(self, invitation: str) -> None:
        wait_for(self.http, self.http.delete(f"{self._invitations}/{invitation}"))

    def _id_of(self, username: str) -> str:
        for user in self.every(username):
            if user["username"].lower() == username.lower():
                return str(user["id"])
        raise Mistake(f"there is no user {username!r}")

    def _pages(self, path: str, params: dict[str, str]) -> Iterator[dict[str, Any]]:
        asked: dict[str, Any] = {**params, "limit": _PAGE}
        while True:
            page = self.http.get(path, params=asked).json()
            yield from page["items"]
            if page["nextCursor"] is None:
                return
            asked["cursor"] = page["nextCursor"]
