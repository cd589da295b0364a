"""What every answer has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_response(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """JSON that no cache keeps and no browser takes for anything else."""
    return JSONResponse(body, status, headers={**HEADERS, **(headers or {})})


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """``{"detail": "one line"}``."""
    return json_response({"detail": detail}, status, headers)
