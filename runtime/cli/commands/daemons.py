"""``hybrid standalone``, ``scheduler``, ``dag-processor``, ``api-server``, ``serve-logs``."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace

from runtime.cli.command import Verb, load_settings
from runtime.cli.daemon_log import log_to_stderr
from runtime.config import Settings
from runtime.config.withholding import withhold_signing_key


def _daemon_settings() -> Settings:
    """The settings, of which the signing key is left in this process only; its log goes to stderr."""
    settings = load_settings()
    withhold_signing_key()
    log_to_stderr(settings.logging.logging_level)
    return settings


def _standalone(args: Namespace) -> int:
    from runtime.cli.standalone import run_standalone

    settings = load_settings()
    withhold_signing_key()
    return run_standalone(settings, with_celery=args.with_celery)


def _standalone_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--with-celery", action="store_true", help="with a Redis and a Celery worker (extra [celery-demo])"
    )


def _scheduler(args: Namespace) -> int:
    from runtime.scheduler.main import run_scheduler

    return run_scheduler(_daemon_settings())


def _dag_processor(args: Namespace) -> int:
    from runtime.processing.main import run_processor

    return run_processor(_daemon_settings())


def _api_server(args: Namespace) -> int:
    from runtime.api.main import run_api_server

    return run_api_server(_daemon_settings())


def _serve_logs(args: Namespace) -> int:
    from runtime.logserver.main import run_log_server

    if args.parent is not None:
        from runtime.worker.linux import die_with_parent

        die_with_parent(args.parent)
    return run_log_server(_daemon_settings(), args.descriptor)


def _serve_logs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--descriptor", type=int, help=SUPPRESS)
    parser.add_argument("--parent", type=int, help=SUPPRESS)


VERBS = {
    "standalone": Verb(
        "everything at once: database, scheduler, DAG processor, API server", _standalone, _standalone_arguments
    ),
    "scheduler": Verb("run a scheduler until SIGTERM or Ctrl-C", _scheduler),
    "dag-processor": Verb("run the process that reads the DAGs folder", _dag_processor),
    "api-server": Verb("serve the task API and health over HTTP", _api_server),
    "serve-logs": Verb("serve this host's task logs to the other hosts", _serve_logs, _serve_logs_arguments),
}
