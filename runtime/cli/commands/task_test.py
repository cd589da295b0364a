"""``hybrid tasks test`` and ``tasks render``: one task in this terminal, with nothing written down."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from runtime.cli.command import UsageError, Verb, add_output, load_settings
from runtime.cli.commands.task_states import add_instance
from runtime.cli.daemon_log import log_to_stderr
from runtime.cli.moments import parse_conf
from runtime.cli.output import emit

if TYPE_CHECKING:
    from runtime.authoring.baseoperator import BaseOperator
    from runtime.cli.trial import Trial
    from runtime.worker.protocol import Begin, Result

COLUMNS = ("field", "value")


def _test(args: Namespace) -> int:
    """Exit code 0 where the task succeeds or is skipped, 1 where it fails, 130 after Ctrl-C."""
    from runtime.cli.trial import open_if_there, prepare
    from runtime.config.withholding import withhold_signing_key
    from runtime.secrets.masking import masker

    params = parse_conf(args.task_params, "--task-params")
    _set_environment(parse_conf(args.env_vars, "--env-vars"))
    settings = load_settings()
    withhold_signing_key()
    log_to_stderr("ERROR")  # Import errors come back as the command's own error.
    database = open_if_there(settings)
    try:
        trial = prepare(settings, database, args.dag_id, args.task_id, args.run)
        _give_params(trial, params)
        if args.dry_run:
            return _show(trial, args.output)
        result = _perform(trial, settings.logging.logging_level)
    finally:
        if database is not None:
            database.close()
    if result.return_value is not UNSET:
        print(f"returned {masker.redact(bytes(result.return_value).decode())}", flush=True)
    why = f": {result.reason}" if result.reason else ""
    print(f"{args.dag_id}.{args.task_id}: {result.outcome}{why}", file=sys.stderr)
    return 130 if result.reason == "KeyboardInterrupt" else int(result.outcome == "failed")


def _render(args: Namespace) -> int:
    from runtime.cli.trial import open_if_there, prepare
    from runtime.config.withholding import withhold_signing_key

    settings = load_settings()
    withhold_signing_key()
    log_to_stderr("ERROR")  # Import errors come back as the command's own error.
    database = open_if_there(settings)
    try:
        return _show(prepare(settings, database, args.dag_id, args.task_id, args.run), args.output)
    finally:
        if database is not None:
            database.close()


def _set_environment(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if not isinstance(value, str):
            raise UsageError(f"--env-vars: the value of {name} must be a text")
        if not name or "=" in name or "\0" in name + value:
            raise UsageError(f"--env-vars: {name!r} is no name of an environment variable")
        os.environ[name] = value


def _give_params(trial: Trial, given: dict[str, Any]) -> None:
    """Raises ``ParamError`` for a value that its schema does not allow."""
    from runtime.core.params import check_conf

    dag, task = _task(trial)
    schemas = {**dag.param_schemas, **task.param_schemas}
    check_conf(f"task {task.task_id!r}", {**dag.params, **task.params}, schemas, {**given, **trial.context.conf})
    task.params = {**task.params, **given}


def _task(trial: Trial) -> tuple[Any, BaseOperator]:
    from runtime.worker.task import AttemptError, find_task

    try:
        return find_task(trial.loaded, trial.context)
    except AttemptError as error:
        from runtime.core.errors import HybridError

        raise HybridError(str(error)) from None


def _perform(trial: Trial, level: str) -> Result:
    """Run it, with all that it says on stdout, secrets masked; its callbacks too."""
    from runtime.log.capture import AttemptLog
    from runtime.worker.interrupts import Interrupts
    from runtime.worker.task import Job, perform

    log = AttemptLog(level, spare=1)
    streams, kept = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
    sys.stdout.flush()
    log.install()
    log.open_spare()
    try:
        job = Job(trial.context, trial.settings, trial.loaded, trial.ask, Interrupts(), _ignore, test_mode=True)
        result = perform(job)
        job.run_callbacks()
        return result
    finally:
        log.close()
        sys.stdout, sys.stderr = streams
        for descriptor, number in zip(kept, (1, 2), strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


def _ignore(begin: Begin) -> None:
    """There is no supervisor to be told."""


def _show(trial: Trial, output: str) -> int:
    """Print the rendered fields, secrets masked. Raises ``HybridError`` where one cannot be rendered."""
    from runtime.authoring.context import active
    from runtime.authoring.exceptions import TaskError
    from runtime.core.errors import HybridError
    from runtime.secrets.masking import masker
    from runtime.worker.context import build_context

    dag, task = _task(trial)
    context = build_context(trial.context, dag, task, trial.ask)
    try:
        with active(context):
            rendered = task.render_template_fields(context)
    except TaskError as error:
        raise HybridError(masker.text(str(error))) from None
    records = [{"field": name, "value": _shown(getattr(rendered, name))} for name in task.template_fields]
    if output in ("json", "yaml"):
        emit(
            [{**record, "value": masker.redact(record["value"], record["field"])} for record in records],
            output,
            COLUMNS,
        )
        return 0
    for record in records:
        print(f"# {record['field']}")
        print(masker.redact(record["value"], record["field"]))
    return 0


def _shown(value: Any) -> Any:
    """JSON-like data as it is, of anything else its text."""
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(item) for item in value]
    if value is UNSET:
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else repr(value)


def _test_arguments(parser: ArgumentParser) -> None:
    add_instance(parser, required=False)
    parser.add_argument("-t", "--task-params", metavar="JSON", help="object of params, before those of the file")
    parser.add_argument("--env-vars", metavar="JSON", help="object of environment variables for the task")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only show its rendered template fields")
    add_output(parser)


def _render_arguments(parser: ArgumentParser) -> None:
    add_instance(parser)
    add_output(parser)


VERBS = {
    "test": Verb("run one task in this terminal, and write nothing down", _test, _test_arguments),
    "render": Verb("show a task's template fields as its run would see them", _render, _render_arguments),
}
