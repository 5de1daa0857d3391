"""The pages that are served here, with nothing loaded from elsewhere."""

from collections.abc import Callable, Coroutine
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS = "/assets/docs"
OPENAPI = "/openapi.json"
_DOCS_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
)
DEVICE = "/device"
NEW_PASSWORD, JOIN, CONFIRM_ADDRESS = "/new-password", "/join", "/confirm-address"
"""Where links lead that are good once; mails name the same."""
_WEB = "/assets/web"
_OWN_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
CSPS = dict.fromkeys(("/docs", "/redoc", "/api/docs"), _DOCS_CSP) | dict.fromkeys(
    (DEVICE, NEW_PASSWORD, JOIN, CONFIRM_ADDRESS), _OWN_CSP
)
"""What each page may load; everything else may load nothing."""


def address_of(request: Request) -> str:
    """How people reach this gateway."""
    address: str = request.app.state.settings.public_url or str(request.base_url)
    return address.rstrip("/")


def install_own_pages(app: FastAPI) -> None:
    """Where people approve a device that shows them a code, and where links lead that are good once."""
    folder = files("signalbox_gateway") / "web"
    app.mount(_WEB, StaticFiles(directory=str(folder)), name="web-assets")
    for name, paths in {"device": (DEVICE,), "link": (NEW_PASSWORD, JOIN, CONFIRM_ADDRESS)}.items():
        page = (folder / f"{name}.html").read_text(encoding="utf-8")
        for path in paths:
            app.add_api_route(path, _showing(page), include_in_schema=False)


def _showing(page: str) -> Callable[[], Coroutine[Any, Any, HTMLResponse]]:
    async def shown() -> HTMLResponse:
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    return shown


def install(app: FastAPI) -> None:
    app.mount(ASSETS, StaticFiles(directory=str(files("fastapi_offline") / "static")), name="docs-assets")

    async def swagger() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=OPENAPI,
            title="Signalbox",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        )

    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url=OPENAPI,
            title="Signalbox",
            redoc_js_url=f"{ASSETS}/redoc.standalone.js",
            redoc_favicon_url=f"{ASSETS}/favicon.png",
            with_google_fonts=False,
        )

    for path in ("/docs", "/api/docs"):
        app.add_api_route(path, swagger, include_in_schema=False)
    app.add_api_route("/redoc", redoc, include_in_schema=False)
