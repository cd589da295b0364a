"""What ``hybrid celery …`` does. Each function takes the parsed arguments and returns the exit code.

All of them raise :class:`~executors.errors.ExecutorError`, which the host prints as one line.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executors.celery.options import CLASS_NAMES, CeleryOptions, read_options
from executors.celery.pidfile import PidFile, living_pid
from executors.context import ExecutorContext
from executors.errors import ExecutorConfigError, ExecutorError

if TYPE_CHECKING:
    from argparse import Namespace

MOST_PROCESSES = 4096
STOP_POLL = 0.1


def worker(args: Namespace) -> int:
    """``hybrid celery worker``."""
    context = chosen(args)
    options = read_options(context.options, context.name)
    arguments = _worker_arguments(args, context, options)
    pid_file = PidFile(_home(context, args.pid, "celery-worker.pid")) if args.pid or args.daemon else None
    if args.daemon:
        from executors.celery.daemon import detach

        return detach(
            _home(context, args.log_file, "celery-worker.log"), lambda ready: _work(context, arguments, pid_file, ready)
        )
    return _work(context, arguments, pid_file, lambda: None)


def stop(args: Namespace) -> int:
    """``hybrid celery stop``: returns when it has ended."""
    path = _home(chosen(args), args.pid, "celery-worker.pid")
    try:
        pid = living_pid(path)
    except OSError as error:
        raise ExecutorError(f"the pid file {path} cannot be read: {error.strerror}") from None
    if pid is None:
        raise ExecutorError(f"no worker holds the pid file {path}")
    os.kill(pid, signal.SIGTERM)
    print(f"worker {pid} is stopping; its running attempts may end", flush=True)  # noqa: T201
    while living_pid(path) == pid:
        time.sleep(STOP_POLL)
    return 0


def list_workers(args: Namespace) -> int:
    """``hybrid celery list-workers``."""
    from executors.celery.control import survey

    context = chosen(args)
    prefix = read_options(context.options, context.name).queue_prefix
    records = [
        {
            "worker_name": found.node,
            "queues": ", ".join(sorted(queue.removeprefix(prefix) for queue in found.queues)),
            "running": found.running,
            "processes": found.processes,
        }
        for found in survey(context)
    ]
    args.emit(records, ["worker_name", "queues", "running", "processes"])
    return 0


def shutdown_worker(args: Namespace) -> int:
    """``hybrid celery shutdown-worker``."""
    from executors.celery.control import tell

    tell(chosen(args), "shutdown", node=args.node)
    print(f"worker {args.node} was told to stop; what runs there may end")  # noqa: T201
    return 0


def shutdown_all_workers(args: Namespace) -> int:
    """``hybrid celery shutdown-all-workers``."""
    from executors.celery.control import tell

    context = chosen(args)
    args.confirm(f"This stops all workers of executor {context.name}.")
    nodes = tell(context, "shutdown")
    print(f"{len(nodes)} workers were told to stop; what runs there may end: {', '.join(nodes)}")  # noqa: T201
    return 0


def add_queue(args: Namespace) -> int:
    """``hybrid celery add-queue``."""
    return _each_queue(args, "add_consumer")


def remove_queue(args: Namespace) -> int:
    """``hybrid celery remove-queue``."""
    return _each_queue(args, "cancel_consumer")


def remove_all_queues(args: Namespace) -> int:
    """``hybrid celery remove-all-queues``."""
    from executors.celery.control import survey, tell

    context = chosen(args)
    for found in survey(context, node=args.node):
        for queue in sorted(found.queues):
            tell(context, "cancel_consumer", node=args.node, queue=queue)
            print(f"worker {args.node} takes no more tasks of queue {queue}")  # noqa: T201
    return 0


def flower(args: Namespace) -> int:
    """``hybrid celery flower``."""
    from executors.celery.flower import run_flower

    return run_flower(chosen(args), args)


def chosen(args: Namespace) -> ExecutorContext:
    """The instance that ``--executor`` names, else the first. Raises :class:`ExecutorConfigError`."""
    contexts: dict[str, ExecutorContext] = args.contexts
    if args.executor is None:
        return next(iter(contexts.values()))
    if args.executor not in contexts:
        raise ExecutorConfigError(f"--executor {args.executor}: choose from {', '.join(contexts)}")
    return contexts[args.executor]


def _each_queue(args: Namespace, command: str) -> int:
    from executors.celery.control import tell

    context = chosen(args)
    options = read_options(context.options, context.name)
    done = {"add_consumer": "takes tasks of queue", "cancel_consumer": "takes no more tasks of queue"}[command]
    for queue in _queues(args.queues, options):
        tell(context, command, node=args.node, queue=queue)
        print(f"worker {args.node} {done} {queue}")  # noqa: T201
    return 0


def _work(context: ExecutorContext, arguments: Any, pid_file: PidFile | None, ready: Callable[[], None]) -> int:
    from executors.celery.worker import run_worker

    if pid_file is None:
        return run_worker(context, arguments, ready)
    pid_file.take()
    try:
        return run_worker(context, arguments, ready)
    finally:
        pid_file.release()


def _worker_arguments(args: Namespace, context: ExecutorContext, options: CeleryOptions) -> Any:
    from executors.celery.control import is_taken
    from executors.celery.worker import WorkerOptions

    pool = args.pool or options.pool
    if pool != "prefork":
        raise ExecutorConfigError(f"pool {pool}: prefork is the only one here, for each attempt needs a process")
    if args.concurrency is not None and not 1 <= args.concurrency <= MOST_PROCESSES:
        raise ExecutorConfigError(f"--concurrency {args.concurrency}: expected 1 to {MOST_PROCESSES}")
    autoscale = args.autoscale or (context.options.get("worker_autoscale") if args.concurrency is None else None)
    node = node_name(args.node, context.name)
    if is_taken(context, node):
        raise ExecutorConfigError(f"a worker called {node} runs already; give this one another name: -n NAME")
    return WorkerOptions(
        node=node,
        queues=_queues(args.queues or "", options) or [options.queue(None)],
        concurrency=args.concurrency or options.worker_concurrency,
        autoscale=parse_autoscale(autoscale) if autoscale else None,
        tend=(lambda: None) if args.skip_serve_logs else args.tend,
    )


def node_name(given: str | None, instance: str) -> str:
    """``celery@host``, or ``ALIAS@host``; Celery's ``%h`` (host), ``%n`` and ``%d`` (its parts) are filled in."""
    host = socket.gethostname()
    short, _, domain = host.partition(".")
    name = given or ("celery" if instance in CLASS_NAMES else instance)
    for mark, value in (("%h", host), ("%n", short), ("%d", domain)):
        name = name.replace(mark, value)
    if not name.isprintable() or " " in name:
        raise ExecutorConfigError(f"-n {given!r}: a worker's name has no spaces and no special characters")
    return name if "@" in name else f"{name}@{host}"


def parse_autoscale(text: str) -> tuple[int, int]:
    """``16,4`` → most and least processes, in either order. Raises :class:`ExecutorConfigError`."""
    try:
        low, high = sorted(int(part) for part in text.split(","))
    except ValueError:
        raise ExecutorConfigError(f"autoscale {text!r}: expected MAX,MIN, for instance 16,4") from None
    if low < 1 or high > MOST_PROCESSES:
        raise ExecutorConfigError(f"autoscale {text!r}: expected 1 to {MOST_PROCESSES}")
    return high, low


def _queues(text: str, options: CeleryOptions) -> list[str]:
    """The broker's names of ``a,b``."""
    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    try:
        return [options.queue(name) for name in names]
    except ValueError as error:
        raise ExecutorConfigError(str(error)) from None


def _home(context: ExecutorContext, given: str | None, name: str) -> Path:
    """A file that was named, else one of the home folder."""
    return Path(given).absolute() if given else Path(context.worker_config["home"], name)
