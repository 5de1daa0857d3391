"""The pages that are served here, with nothing loaded from elsewhere."""

from importlib.resources import files

from fastapi import FastAPI
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
_WEB = "/assets/web"
CSPS = dict.fromkeys(("/docs", "/redoc", "/api/docs"), _DOCS_CSP) | {
    DEVICE: "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
"""What each page may load; everything else may load nothing."""


def install_device_page(app: FastAPI) -> None:
    """Where people approve a device that shows them a code."""
    folder = files("signalbox_gateway") / "web"
    app.mount(_WEB, StaticFiles(directory=str(folder)), name="web-assets")
    page = (folder / "device.html").read_text(encoding="utf-8")

    async def device() -> HTMLResponse:
        return HTMLResponse(page, headers={"Cache-Control": "no-store"})

    app.add_api_route(DEVICE, device, include_in_schema=False)


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
