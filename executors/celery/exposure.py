"""What is open to others of a broker and of Flower."""

from __future__ import annotations

from executors.celery.options import CeleryOptions
from executors.context import ExecutorContext
from executors.exposure import is_loopback
from executors.findings import Finding, errors, warnings


def exposures(options: CeleryOptions, context: ExecutorContext) -> tuple[Finding, ...]:
    """Missing passwords are errors: whoever reaches the place can use it. Missing TLS is a warning."""
    ends = [end for end in (options.broker, options.result_backend) if end is not None]
    open_to_all = dict.fromkeys(end.warning for end in ends)
    return (
        *errors("settings", *open_to_all, _flower(context)),
        *warnings("settings", _plain(options)),
    )


def _plain(options: CeleryOptions) -> str | None:
    broker = options.broker
    if options.tls is not None or not broker.is_plain:
        return None
    return (
        f"[celery] broker_url {broker.shown} is spoken to without TLS: whoever is in between can read start tickets, "
        "and take or remove work; use a rediss:// or amqps:// address, or ssl_active"
    )


def _flower(context: ExecutorContext) -> str | None:
    host = context.options.get("flower_host", "").strip()
    if is_loopback(host) or context.options.get("flower_basic_auth", "").strip():
        return None
    return (
        f"[celery] flower_host = {host} without flower_basic_auth: Flower would let anybody stop the workers, and does "
        "not start; set flower_basic_auth = USER:PASSWORD, or use 127.0.0.1"
    )
