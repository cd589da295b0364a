"""How ``[celery]`` is read, and what Celery is told of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from executors.celery.app import celery_settings, make_app, make_publishing_app
from executors.celery.endpoints import Endpoint
from executors.celery.executor import CeleryExecutor
from executors.celery.options import read_options
from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError


def settings(name: str = "CeleryExecutor", **options: str):
    return celery_settings(read_options(options, name))


class TestReading:
    def test_defaults(self):
        options = read_options({}, "CeleryExecutor")
        assert (options.broker.url, options.queue(None)) == ("redis://localhost:6379/0", "default")
        assert (options.operation_timeout, options.publish_retries, options.stuck_after) == (1.0, 3, 60.0)

    def test_redis_broker_holds_the_results_too(self):
        options = read_options({"broker_url": "redis://there:1/2"}, "")
        assert options.result_backend == options.broker

    @pytest.mark.parametrize("value", ["disabled", "none", ""])
    def test_results_can_be_left_out(self, value):
        broker = "amqp://broker//" if value == "" else "redis://there/0"
        assert read_options({"broker_url": broker, "result_backend": value}, "").result_backend is None

    @pytest.mark.parametrize(
        ("name", "prefix", "queue"),
        [
            ("CeleryExecutor", None, "gpu"),
            ("executors.celery.executor.CeleryExecutor", None, "gpu"),
            ("east", None, "east.gpu"),
            ("their.module.CeleryExecutor", None, "their.module.CeleryExecutor.gpu"),
            ("east", "", "gpu"),
            ("CeleryExecutor", "prod-", "prod-gpu"),
        ],
    )
    def test_an_alias_has_queues_of_its_own(self, name, prefix, queue):
        options = {} if prefix is None else {"queue_prefix": prefix}
        assert read_options(options, name).queue("gpu") == queue

    @pytest.mark.parametrize(
        ("option", "value", "what"),
        [
            ("operation_timeout", "soon", "is no number of seconds"),
            ("operation_timeout", "0", "is not between"),
            ("operation_timeout", "inf", "is not between"),
            ("task_publish_max_retries", "1.5", "is not a whole number"),
            ("worker_concurrency", "0", "is below 1"),
            ("worker_enable_remote_control", "maybe", "is neither True nor False"),
            ("broker_url", "localhost", "is no URL"),
            ("ssl_active", "True", ""),
        ],
    )
    def test_bad_value_names_instance_option_and_reason(self, option, value, what):
        with pytest.raises(ExecutorConfigError, match=f"^east: .*{option}.*{what}"):
            CeleryExecutor(context=ExecutorContext(name="east", options={option: value}))

    @pytest.mark.parametrize("url", ["redis://:pa#ss@host/0", "redis://:pass@host:port/0", "redis://:pa/ss@host/0"])
    def test_bad_url_is_not_repeated(self, url):
        with pytest.raises(ExecutorConfigError, match="option broker_url cannot be read: .*%XX") as raised:
            read_options({"broker_url": url}, "east")
        assert "ss" not in str(raised.value).replace("password", "")
        assert raised.value.__suppress_context__

    def test_transport_options_are_json_where_they_read_as_such(self):
        made = settings(
            **{
                "broker_transport_options.visibility_timeout": "60",
                "broker_transport_options.sentinel_kwargs": '{"password": "x"}',
                "broker_transport_options.global_keyprefix": "mine",
                "result_backend_transport_options.master_name": "main",
            }
        )
        wanted = {"visibility_timeout": 60, "sentinel_kwargs": {"password": "x"}, "global_keyprefix": "mine"}
        assert {key: made["broker_transport_options"][key] for key in wanted} == wanted
        assert made["result_backend_transport_options"] == {"master_name": "main"}

    def test_sentinels_master_is_the_results_too(self):
        own = {"broker_url": "sentinel://a:1;sentinel://b:2", "broker_transport_options.master_name": "main"}
        assert settings(**own)["result_backend_transport_options"] == {"master_name": "main"}


class TestApplication:
    def test_json_only_and_late_acknowledgement(self):
        made = settings()
        assert made["accept_content"] == made["result_accept_content"] == ["json"]
        assert {made[f"{kind}_serializer"] for kind in ("task", "result", "event")} == {"json"}
        assert made["task_acks_late"]
        assert made["task_reject_on_worker_lost"]
        assert not made["result_extended"], "arguments hold a ticket"
        assert made["broker_transport_options"]["visibility_timeout"] == 86_400

    def test_two_share_nothing(self):
        """Neither is current or default; each has a broker, queues, control channel and unacked messages of its own."""
        import celery

        west, east = (make_app({"broker_url": f"redis://{name}/0"}, name) for name in ("west", "east"))
        assert celery.current_app._get_current_object() not in (west, east)
        for get in (
            lambda app: app.conf.broker_url,
            lambda app: app.conf.task_default_queue,
            lambda app: app.control.mailbox.exchange.name,
            lambda app: app.conf.event_exchange,
            lambda app: app.conf.broker_transport_options["unacked_key"],
            lambda app: app.amqp,
        ):
            assert get(west) != get(east)

    @pytest.mark.parametrize("variable", ["CELERY_BROKER_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"])
    def test_variable_that_would_overrule_every_instance_is_refused(self, variable, monkeypatch):
        monkeypatch.setenv(variable, "redis://:secret@elsewhere/0")
        with pytest.raises(ExecutorConfigError, match=f"{variable} differs .* unset it") as raised:
            make_app({}, "east")
        assert "secret" not in str(raised.value)

    def test_settings_module_of_the_environment_is_not_read(self, monkeypatch):
        monkeypatch.setenv("CELERY_CONFIG_MODULE", "no_such_module")
        assert make_app({}, "east").conf.accept_content == ["json"]

    def test_executor_waits_at_most_half_of_its_time_at_once(self):
        conf = make_publishing_app(read_options({"operation_timeout": "3"}, "")).conf
        assert conf.broker_transport_options["socket_timeout"] == conf.redis_socket_timeout == 1.5
        amqp = make_publishing_app(read_options({"broker_url": "amqp://there//"}, "")).conf.broker_transport_options
        assert (amqp["read_timeout"], amqp["confirm_publish"]) == (0.5, True)

    def test_certificates(self):
        files = {"ssl_active": "True", "ssl_cacert": "ca.pem", "ssl_cert": "c.pem", "ssl_key": "k.pem"}
        made = settings(broker_url="rediss://there/0", **files)
        assert made["broker_use_ssl"] == made["redis_backend_use_ssl"]
        assert (made["broker_use_ssl"]["ssl_ca_certs"], made["broker_use_ssl"]["ssl_keyfile"]) == ("ca.pem", "k.pem")
        one_way = settings(broker_url="amqps://there//", **{**files, "ssl_mutual": "False"})["broker_use_ssl"]
        assert (one_way["ca_certs"], "keyfile" in one_way) == ("ca.pem", False)


class TestEndpoints:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://user:word@host:1/2", "redis://host:1/2"),
            ("sentinel://:word@a:1;sentinel://:word@b:2", "sentinel://a:1;sentinel://b:2"),
            ("db+postgresql://u:word@db/celery", "db+postgresql://db/celery"),
            ("redis+socket:///run/redis.sock?password=word", "redis+socket:///run/redis.sock"),
        ],
    )
    def test_shown_without_secrets(self, url, shown):
        endpoint = Endpoint.parse(url)
        assert endpoint.shown == shown
        assert "word" not in repr(endpoint)
        assert "word" not in endpoint.redact(f"failed at {url} with word")

    @pytest.mark.parametrize(
        ("url", "unsafe"),
        [
            ("redis://host/0", True),
            ("redis://:word@host/0", False),
            ("redis://localhost/0", False),
            ("redis://127.0.0.1/0", False),
            ("redis://[::1]:6379/0", False),
            ("redis+socket:///run/redis.sock", False),
            ("amqp://guest:guest@host//", True),
            ("amqp://guest:guest@localhost//", False),
        ],
    )
    def test_open_doors_are_told(self, url, unsafe):
        assert bool(Endpoint.parse(url).warning) is unsafe


def test_importing_and_making_the_executor_imports_no_celery():
    """Whoever only lists executors pays nothing."""
    code = (
        "import sys; from executors.celery.executor import CeleryExecutor; CeleryExecutor(); "
        "print([name for name in ('celery', 'kombu', 'redis', 'amqp', 'sqlalchemy') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
