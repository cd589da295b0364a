"""A real ``hybrid celery worker`` in front of a task API with attempts, and whoever writes to its broker."""

from __future__ import annotations

import base64
import json
import signal
from typing import Any

from executors.celery.app import make_publishing_app
from executors.celery.messages import Message
from executors.celery.options import read_options
from executors.celery.publishing import Budget, Publisher
from tests.integration.worker_http.faulty_api import eventually
from tests.integration.worker_http.launches import Launched, Office
from tests.redis_server import RedisServer

CODE = "import json, os, sys; from runtime.cli.main import main; sys.exit(main(json.loads(os.environ['WORDS'])))"


class Broker:
    """Writes to a broker as the executor does, and as anybody could."""

    def __init__(self, redis: RedisServer) -> None:
        self.redis = redis
        options = read_options({"broker_url": redis.url}, "")
        self._publisher = Publisher(make_publishing_app(options), options, "test")

    def publish(self, attempt_id: str, ticket: str, queue: str = "default") -> None:
        """A message of ours."""
        self._publisher.send([Message(attempt_id, queue, ticket)], Budget(5.0))

    def message(self, attempt_id: str, ticket: str) -> dict[str, Any]:
        """What :meth:`publish` would put into the broker."""
        self.publish(attempt_id, ticket, "sketch")
        raw: str = self.redis.call("RPOP", "sketch")
        made = json.loads(raw)
        made["properties"]["delivery_info"]["routing_key"] = "default"
        return dict(made)

    def put(self, message: dict[str, Any] | str) -> None:
        """Any message, or anything."""
        self.redis.call("LPUSH", "default", message if isinstance(message, str) else json.dumps(message))

    def is_empty(self) -> bool:
        """Nothing waits, and nothing is in anybody's hands."""
        return not self.redis.call("LLEN", "default") and not self.redis.call("HLEN", "unacked")

    def close(self) -> None:
        self._publisher.close()


def with_body(message: dict[str, Any], args: Any, kwargs: Any, embed: Any) -> dict[str, Any]:
    """The message with another body."""
    body = base64.b64encode(json.dumps([args, kwargs, embed]).encode()).decode()
    return {**message, "body": body}


def start_worker(office: Office, redis: RedisServer, *words: str, **settings: str) -> Launched:
    """Run ``hybrid celery worker WORDS``, and return when it takes messages."""
    launched = run_command(
        office, redis, "celery", "worker", "-c", "1", "-n", "w@test", "--skip-serve-logs", *words, **settings
    )
    launched.wait_line(" ready.")
    return launched


def run_command(office: Office, redis: RedisServer | str, *words: str, **settings: str) -> Launched:
    """Run ``hybrid WORDS``, configured for that broker."""
    chosen = {
        "core__executor": "CeleryExecutor",
        "celery__broker_url": redis if isinstance(redis, str) else redis.url,
        "workers__start_patience": "2",
        **settings,
    }
    return office.launch("", code=CODE, ticket="", environment={"WORDS": json.dumps(words)}, **chosen)


def end(launched: Launched) -> None:
    """SIGTERM; it must end well."""
    launched.signal(signal.SIGTERM)
    assert launched.wait() == 0, launched.err


def settled(office: Office, attempt_id: str, state: str = "success") -> None:
    """Wait until its task instance is in that state."""
    eventually(lambda: office.state(attempt_id) == state)
