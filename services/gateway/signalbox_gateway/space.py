"""A disk that fills up: new work is refused while there is room for what goes on, and for what makes room."""

from starlette.types import ASGIApp, Receive, Scope, Send

from signalbox_common.errors import DiskFull
from signalbox_common.space import DiskSpace
from signalbox_gateway.edge import API
from signalbox_gateway.problems import problem

_ADDING = frozenset({"POST", "PUT", "PATCH"})
_STILL = (f"{API}v1/auth/",)
"""Whoever makes room has to sign in for it."""
_ENDING = ("/cancel", "/pause", "/stop", "/kill")


class DiskGuard:
    """Pure ASGI."""

    def __init__(self, app: ASGIApp, *, space: DiskSpace) -> None:
        self._app = app
        self._space = space

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _adds(scope["method"], scope["path"]):
            try:
                self._space.require()
            except DiskFull as full:
                await problem(full.status, full.code, full.detail)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _adds(method: str, path: str) -> bool:
    return (
        method in _ADDING
        and path.startswith(API)
        and not path.startswith(_STILL)
        and not path.endswith(_ENDING)
    )
