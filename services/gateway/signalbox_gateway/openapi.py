"""The OpenAPI document: FastAPI's, with the one schema of all problems."""

from typing import Any

from fastapi import FastAPI

from signalbox_gateway import problems


def install(app: FastAPI) -> None:
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).setdefault(problems.NAME, problems.SCHEMA)
        components.setdefault("responses", {}).setdefault(problems.NAME, problems.RESPONSE)
        return document

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's own documentation does it
