"""What a list or a watch is asked for: selection, version, page. Pure; all of it raises :class:`ApiError`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from tests.kubernetes_api import statuses
from tests.kubernetes_api.selectors import Predicate, both, by_fields, by_labels
from tests.kubernetes_api.store import Key

EXPIRED_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def selected(namespace: str | None, query: Mapping[str, str]) -> Predicate:
    """What a list or a watch is about."""
    chosen = both(by_labels(query.get("labelSelector", "")), by_fields(query.get("fieldSelector", "")))
    return chosen if namespace is None else both(lambda obj: obj["metadata"]["namespace"] == namespace, chosen)


def too_large(asked: int, current: int) -> statuses.ApiError:
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return statuses.ApiError(504, message, details={"causes": causes}, retry_after=1)


def revision(text: str) -> int:
    if not text:
        return 0
    if not text.isdigit():
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise statuses.ApiError(500, why, reason="")
    return int(text)


def number(text: str) -> int:
    if not text.lstrip("-").isdigit():
        raise statuses.bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return max(int(text), 0)


def token(at: int | None, last: Key) -> str:
    start = f"{last[0]}/{last[1]}\u0000"
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": -1 if at is None else at, "start": start})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(text: str) -> tuple[int | None, Key]:
    try:
        read = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        namespace, _, name = read["start"].rstrip("\u0000").partition("/")
        return (None if read["rv"] == -1 else int(read["rv"])), (namespace, name)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise statuses.bad_request("invalid continue token: continue key is not valid: illegal base64 data") from None
