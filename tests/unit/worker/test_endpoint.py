"""The task API's URL, taken apart."""

from __future__ import annotations

import pytest

from runtime.core.errors import ConfigError
from runtime.worker.endpoint import Endpoint, parse_endpoint


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://host:8080/execution/v1", Endpoint(False, "host", 8080, "/execution/v1")),
        ("https://host/execution/v1/", Endpoint(True, "host", None, "/execution/v1")),
        ("http://[::1]:80/a/b", Endpoint(False, "::1", 80, "/a/b")),
        ("https://host", Endpoint(True, "host", None, "")),
    ],
)
def test_parts(url, endpoint):
    assert parse_endpoint(url) == endpoint


@pytest.mark.parametrize("url", ["http://:80/x", "http://host:99999/x", "http://host:port/x", "http://[::1/x"])
def test_a_url_without_a_usable_host_and_port_is_an_error(url):
    with pytest.raises(ConfigError, match="names no host and port"):
        parse_endpoint(url)


def test_a_password_in_a_url_is_not_repeated():
    with pytest.raises(ConfigError) as caught:
        parse_endpoint("http://user:s3cret@host:99999/x")
    assert "s3cret" not in str(caught.value)
