"""``hybrid standalone``, ``scheduler``, ``dag-processor``."""

from __future__ import annotations

from argparse import Namespace

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


VERBS = {
    "standalone": Verb("everything at once: database, scheduler, DAG processor", _standalone),
    "scheduler": Verb("run a scheduler until SIGTERM or Ctrl-C", _scheduler),
    "dag-processor": Verb("run the process that reads the DAGs folder", _dag_processor),
}
