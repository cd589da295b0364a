"""``[kubernetes_executor]``: what is read, what is made of it, and how a bad value is told."""

from __future__ import annotations

import pytest

from executors.errors import ExecutorConfigError
from executors.kubernetes.options import FATAL_REASONS, KubernetesOptions, read_options

URL = {"task_api_url": "http://api:8080/execution/v1"}


def read(**options: str) -> KubernetesOptions:
    return read_options(options, "west", URL)


def test_without_options_everything_is_as_documented() -> None:
    found = read()
    assert found == KubernetesOptions(name="west", task_api_url=URL["task_api_url"], deployment=found.deployment)


def test_deployments_differ_by_their_api_and_may_be_named() -> None:
    other = read_options({}, "west", {"task_api_url": "http://other:8080/execution/v1"})
    assert len({read().deployment, other.deployment, read(deployment="blue").deployment}) == 3
    assert read().deployment == read_options({}, "east", URL).deployment


@pytest.mark.parametrize(
    ("options", "namespaces"),
    [
        ({"namespace": "a"}, ("a",)),
        ({"namespace": "a", "multi_namespace_mode_namespace_list": "b"}, ("a",)),
        ({"namespace": "a", "multi_namespace_mode": "True"}, ("",)),
        ({"namespace": "a", "multi_namespace_mode": "True", "multi_namespace_mode_namespace_list": "b, a"}, ("a", "b")),
    ],
)
def test_namespaces(options, namespaces) -> None:
    assert read(**options).namespaces == namespaces


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"worker_container_repository": "r/x", "worker_container_tag": "1"}, "image", "r/x:1"),
        ({"worker_container_repository": "r/x"}, "image", "r/x"),
        ({"enable_tcp_keepalive": "False"}, "tcp_keepalive", None),
        ({"tcp_keep_idle": "5", "tcp_keep_intvl": "6", "tcp_keep_cnt": "7"}, "tcp_keepalive", (5, 6, 7)),
        ({"kube_client_request_args": '{"_request_timeout": [5, 60]}'}, "request_timeout", 60.0),
        ({"delete_option_kwargs": '{"grace_period_seconds": 10}'}, "delete_grace", 10),
        ({"worker_pod_pending_fatal_container_state_reasons": ""}, "fatal_reasons", ()),
        ({}, "fatal_reasons", FATAL_REASONS),
    ],
)
def test_what_is_made_of_it(options, field, value) -> None:
    assert getattr(read(**options), field) == value


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"in_cluster": "maybe"}, "option in_cluster = 'maybe' is neither True nor False"),
        ({"task_publish_max_retries": "-2"}, "option task_publish_max_retries = '-2' is below -1"),
        ({"pod_creation_max_concurrency": "0"}, "option pod_creation_max_concurrency = '0' is below 1"),
        ({"relist_interval": "soon"}, "option relist_interval = 'soon' is no number of seconds"),
        ({"kube_client_request_args": "{"}, "option kube_client_request_args = '{' is no JSON"),
        (
            {"kube_client_request_args": '{"_requst_timeout": 3}'},
            "kube_client_request_args = '_requst_timeout' is not known",
        ),
        ({"kube_client_request_args": '{"_request_timeout": 0}'}, "has no _request_timeout in seconds"),
        ({"api_client_retry_configuration": "3"}, "option api_client_retry_configuration = '3' is no JSON object"),
        ({"delete_option_kwargs": '{"x": 1}'}, "delete_option_kwargs = 'x' is not known; use grace_period_seconds"),
        ({"delete_option_kwargs": '{"grace_period_seconds": true}'}, "delete_option_kwargs = 'True' is no number"),
        ({"worker_container_tag": "1"}, "option worker_container_tag = '1' needs worker_container_repository"),
    ],
)
def test_bad_option_is_one_line_that_names_it(options, told) -> None:
    with pytest.raises(ExecutorConfigError) as caught:
        read(**options)
    assert str(caught.value).startswith("west: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
