"""``hybrid standalone``, ``scheduler``, ``dag-processor``, ``api-server``, ``serve-logs``."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace

from runtime.cli.command import Verb, load_settings
from runtime.cli.daemon_log import log_to_stderr


def _standalone(args: Namespace) -> int:
    from runtime.cli.standalone import run_standalone

    return run_standalone(load_settings())


def _scheduler(args: Namespace) -> int:
    from runtime.scheduler.main import run_scheduler

    settings = load_settings()
    log_to_stderr(settings.logging.logging_level)
    return run_scheduler(settings)


def _dag_processor(args: Namespace) -> int:
    from runtime.processing.main import run_processor

    settings = load_settings()
    log_to_stderr(settings.logging.logging_level)
    return run_processor(settings)


def _api_server(args: Namespace) -> int:
    from runtime.api.main import run_api_server

    settings = load_settings()
    log_to_stderr(settings.logging.logging_level)
    return run_api_server(settings)


def _serve_logs(args: Namespace) -> int:
    from runtime.logserver.main import run_log_server

    if args.parent is not None:
        from runtime.worker.linux import die_with_parent

        die_with_parent(args.parent)
    settings = load_settings()
    log_to_stderr(settings.logging.logging_level)
    return run_log_server(settings, args.descriptor)


def _serve_logs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--descriptor", type=int, help=SUPPRESS)
    parser.add_argument("--parent", type=int, help=SUPPRESS)


VERBS = {
    "standalone": Verb("everything at once: database, scheduler, DAG processor, API server", _standalone),
    "scheduler": Verb("run a scheduler until SIGTERM or Ctrl-C", _scheduler),
    "dag-processor": Verb("run the process that reads the DAGs folder", _dag_processor),
    "api-server": Verb("serve the task API and health over HTTP", _api_server),
    "serve-logs": Verb("serve this host's task logs to the other hosts", _serve_logs, _serve_logs_arguments),
}
