"""The FastAPI application: which path leads where."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from runtime.api.batching import UnavailableError
from runtime.api.health import no_database, read_health
from runtime.api.metrics import read_page
from runtime.api.reading import SharedRead
from runtime.api.responses import HEADERS, json_response, refusal
from runtime.config import Settings
from runtime.core.task_api import PREFIX
from runtime.db.engine import Database
from runtime.version import VERSION


def make_app(settings: Settings, database: Database, task_routes: ASGIApp) -> FastAPI:
    """The application. Nothing is served that is not asked for: no pages about the API, no redirects."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_exception_handler(HTTPException, _refuse)
    app.mount(PREFIX, task_routes)
    health = SharedRead(lambda: read_health(database, settings))
    page = SharedRead(lambda: read_page(database, settings))

    @app.get("/api/v2/version")
    async def version() -> Response:
        return json_response({"version": VERSION, "git_version": None})

    @app.get("/api/v2/monitor/health")
    async def monitor_health() -> Response:
        try:
            found: Any = await health()
        except (SQLAlchemyError, UnavailableError):
            found = no_database()
        return json_response(found)

    async def metrics() -> Response:
        try:
            text, content_type = await page()
        except (SQLAlchemyError, UnavailableError):
            return refusal(503, "the metadata database is not to be had")
        return Response(text, headers={**HEADERS, "Content-Type": content_type})

    if settings.metrics.prometheus_on:
        app.add_api_route("/metrics", metrics)
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = "there is no such path" if error.status_code == 404 else str(error.detail)
    return refusal(error.status_code, detail, error.headers)
