"""``hybrid celery …``: what is declared of it. Cheap to import; the commands themselves are in ``commands``."""

from __future__ import annotations

from executors.cli import ActionCommand, Arg, CLICommand, GroupCommand, lazy_load_command

_EXECUTOR = Arg(("--executor",), {"metavar": "NAME", "help": "of several Celery executors (default: the first)"})
_NODE = {"dest": "node", "metavar": "NAME"}
_OUTPUT = Arg(
    ("-o", "--output"),
    {"choices": ("table", "json", "yaml", "plain"), "default": "table", "help": "format (default: table)"},
)
_PID = Arg(("-p", "--pid"), {"metavar": "FILE", "help": "pid file (default: $HYBRID_HOME/celery-worker.pid)"})
_YES = Arg(("-y", "--yes"), {"action": "store_true", "help": "do not ask"})


def _action(name: str, about: str, *args: Arg, is_worker: bool = False) -> ActionCommand:
    function = f"executors.celery.commands.{name.replace('-', '_')}"
    return ActionCommand(name, about, lazy_load_command(function), (*args, _EXECUTOR), is_worker)


def commands() -> list[CLICommand]:
    """For :meth:`executors.base.BaseExecutor.get_cli_commands`."""
    target = Arg(("-H", "--celery-hostname", "-d", "--destination"), {**_NODE, "help": "the worker's name, name@host"})
    needed = Arg(target.flags, {**target.options, "required": True})
    queues = Arg(("-q", "--queues"), {"metavar": "QUEUES", "required": True, "help": "names, separated by commas"})
    workers = (
        _action("worker", "run a Celery worker until SIGTERM or Ctrl-C", *_worker_arguments(), is_worker=True),
        _action("stop", "stop the worker of a pid file; what runs there may end", _PID),
        _action("list-workers", "list the workers that answer", _OUTPUT),
        _action("shutdown-worker", "tell one worker to stop; what runs there may end", needed),
        _action("shutdown-all-workers", "tell all workers of this executor to stop", _YES),
        _action("add-queue", "have a worker take tasks of further queues", queues, needed),
        _action("remove-queue", "have a worker take no more tasks of some queues", queues, needed),
        _action("remove-all-queues", "have a worker take no more tasks at all", needed),
        _action("flower", "serve Flower, a web page about the workers (extra [flower])", *_flower_arguments()),
    )
    return [GroupCommand("celery", "run, list and stop the workers of CeleryExecutor", workers)]


def _worker_arguments() -> tuple[Arg, ...]:
    return (
        Arg(
            ("-q", "--queues"), {"metavar": "QUEUES", "help": "names, separated by commas (default: the default queue)"}
        ),
        Arg(("-c", "--concurrency"), {"type": int, "metavar": "N", "help": "attempts at once"}),
        Arg(("-n", "-H", "--celery-hostname"), {**_NODE, "help": "the worker's name (default: celery@%%h)"}),
        Arg(("-a", "--autoscale"), {"metavar": "MAX,MIN", "help": "most and least processes, instead of -c"}),
        Arg(("-P", "--pool"), {"metavar": "POOL", "help": "prefork is the only one: attempts need processes"}),
        Arg(("-D", "--daemon"), {"action": "store_true", "help": "leave the terminal"}),
        _PID,
        Arg(("-l", "--log-file"), {"metavar": "FILE", "help": "of a daemon (default: $HYBRID_HOME/celery-worker.log)"}),
        Arg(("-s", "--skip-serve-logs"), {"action": "store_true", "help": "serve no task logs to other hosts"}),
        Arg(("--without-gossip", "--without-mingle"), {"action": "store_true", "help": "accepted: there is none"}),
    )


def _flower_arguments() -> tuple[Arg, ...]:
    return (
        Arg(
            ("-H", "--hostname"), {"dest": "host", "metavar": "HOST", "help": "address (default: [celery] flower_host)"}
        ),
        Arg(("-p", "--port"), {"type": int, "metavar": "PORT", "help": "default: [celery] flower_port, 5555"}),
        Arg(("-u", "--url-prefix"), {"metavar": "PATH", "help": "default: [celery] flower_url_prefix"}),
        Arg(("-A", "--basic-auth"), {"metavar": "FILE", "help": "file with user:password lines"}),
    )
