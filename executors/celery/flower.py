"""Flower, the well-known web page about Celery workers, for the workers of one instance."""

from __future__ import annotations

import signal
from argparse import Namespace
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

from executors.celery.control import broker_answers
from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 5555
_HIGHEST_PORT = 65_535


def run_flower(context: ExecutorContext, args: Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C. Raises :class:`ExecutorError` where that cannot be."""
    host = args.host or context.text("flower_host", DEFAULT_HOST)
    port = args.port if args.port is not None else context.integer("flower_port", DEFAULT_PORT)
    if not 0 <= port <= _HIGHEST_PORT:
        raise ExecutorConfigError(f"port {port}: expected 0 to {_HIGHEST_PORT}")
    people = read_people(args.basic_auth, context.options.get("flower_basic_auth", ""))
    if not people and not is_loopback(host):
        raise ExecutorConfigError(
            f"Flower on {host} would let anybody stop the workers; set [celery] flower_basic_auth = USER:PASSWORD, or "
            f"serve it on {DEFAULT_HOST} only"
        )
    broker_answers(context)
    return _serve(context, host, port, args.url_prefix or context.text("flower_url_prefix", ""), people)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_people(file: str | None, option: str) -> list[str]:
    """``user:password`` texts of a file, a line each, else of the option, separated by commas.

    Raises :class:`ExecutorConfigError`, which repeats none of them.
    """
    where, text = "[celery] flower_basic_auth", option.replace(",", "\n")
    if file is not None:
        where = file
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ExecutorConfigError(f"--basic-auth {file} cannot be read: {error}") from None
    people = [line.strip() for line in text.splitlines() if line.strip()]
    if not all(person.partition(":")[0] and person.partition(":")[2] for person in people):
        raise ExecutorConfigError(f"{where}: expected USER:PASSWORD")
    return people


def _serve(context: ExecutorContext, host: str, port: int, prefix: str, people: list[str]) -> int:
    try:
        from flower.app import Flower
        from flower.options import options
        from flower.urls import settings
        from flower.utils import prepend_url
    except ImportError as error:
        raise ExecutorConfigError(
            f"Flower needs the module {error.name}, which is not installed; pip install 'hybrid-runtime[flower]'"
        ) from None
    from executors.celery.app import make_app

    options.address, options.port, options.url_prefix = host, port, prefix.strip("/") or None
    if people:
        options.basic_auth = people
    if prefix:
        settings |= {name: prepend_url(settings[name], prefix) for name in ("login_url", "static_url_prefix")}
    flower = Flower(capp=make_app(context.options, context.name), options=options, **settings)
    try:
        bound = flower.start_http_server()
    except OSError as error:
        raise ExecutorConfigError(f"Flower cannot listen on {host}:{port}: {error.strerror}") from None
    print(f"Flower shows the workers of {context.name} on http://{host}:{bound}/{prefix.strip('/')}", flush=True)  # noqa: T201
    signal.signal(signal.SIGTERM, _leave)
    with suppress(KeyboardInterrupt):
        flower.start()
    flower.stop()
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
