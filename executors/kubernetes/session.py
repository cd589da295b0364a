"""One reading of the configuration: a client of the official library, with the credentials that it found."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from executors.kubernetes.configuration import Credentials, make_api_client
from executors.kubernetes.connections import Sockets
from executors.kubernetes.errors import ClusterUnreachableError, api_error, translated
from executors.kubernetes.options import KubernetesOptions

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse


@dataclass(frozen=True)
class Request:
    """One call. ``what`` names it in errors."""

    what: str
    method: str
    path: str
    body: bytes = field(repr=False)
    content_type: str


class Session:
    """Raises :class:`ClusterConfigError`. Its sockets are known to ``sockets``."""

    def __init__(self, options: KubernetesOptions, sockets: Sockets) -> None:
        self._connect_timeout = options.request_timeout
        self._client = make_api_client(options)
        self._pool_manager: Any = self._client.rest_client.pool_manager
        sockets.track(self._pool_manager)
        self.url: str = self._client.configuration.host.rstrip("/")
        self._credentials = Credentials(self._client.configuration)
        self._made = time.monotonic()

    @property
    def age(self) -> float:
        """Seconds."""
        return time.monotonic() - self._made

    def send(self, request: Request, seconds: float) -> BaseHTTPResponse:
        """The response, its content unread. ``seconds``: the longest silence. Raises only :class:`KubernetesError`."""
        from urllib3.exceptions import ProtocolError

        with translated(request.what, self.url, ClusterUnreachableError):
            try:
                response = self._send(request, seconds)
            except ProtocolError:
                # Mostly a kept connection that the server has closed at the very moment.
                response = self._send(request, seconds)
            if response.status < 300:
                return response
            content = response.read()
            response.release_conn()
            raise api_error(request.what, response.status, content, response.headers, time.time())

    def close(self) -> None:
        """Close the connections that are kept for reuse."""
        self._pool_manager.clear()

    def _send(self, request: Request, seconds: float) -> BaseHTTPResponse:
        from urllib3 import Timeout

        headers = {"accept": "application/json, */*", "user-agent": self._client.user_agent}
        headers.update(self._credentials.header())
        if request.body:
            headers["content-type"] = request.content_type
        response: BaseHTTPResponse = self._pool_manager.urlopen(
            request.method,
            self.url + request.path,
            body=request.body or None,
            headers=headers,
            timeout=Timeout(connect=min(seconds, self._connect_timeout), read=seconds),
            redirect=False,
            preload_content=False,
        )
        return response
