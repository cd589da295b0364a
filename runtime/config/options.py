"""Every option, once: name, type, default, and why that default. Names and defaults are Airflow's where it has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.config.values import database_url, log_level, port, task_api_url, time_zone


@dataclass(frozen=True)
class OptionInfo:
    """What is known of an option beside its name and type."""

    default: str
    """As it would stand in ``hybrid.cfg``; ``$HYBRID_HOME`` is the home folder."""
    why: str
    minimum: float | None = None
    choices: tuple[str, ...] = ()
    parse: Callable[[str], Any] | None = None
    """Replaces the parser of the declared type; raises ``ValueError`` that says what was expected."""
    sensitive: bool = False


def option(
    default: str,
    why: str,
    *,
    minimum: float | None = None,
    choices: tuple[str, ...] = (),
    parse: Callable[[str], Any] | None = None,
    sensitive: bool = False,
) -> Any:
    """Declare an option. Its type is the annotation: str, int, float, bool, Path or ``float | None``."""
    info = OptionInfo(default, why, minimum, choices, parse, sensitive)
    return field(repr=not sensitive, metadata={"option": info})


@dataclass(frozen=True)
class Core:
    """What every process agrees on."""

    executor: str = option(
        "LocalExecutor",
        "Executors, comma-separated, the first is the default; `alias:Name` gives one a name and options of its own. "
        "Local, because it needs no service.",
    )
    dags_folder: Path = option("$HYBRID_HOME/dags", "DAG files are looked for here and below.")
    plugins_folder: Path = option(
        "$HYBRID_HOME/plugins", "Put on the import path of parse and task processes, so that DAG files share modules."
    )
    parallelism: int = option(
        "32",
        "Task instances queued or running at once, per scheduler, in each executor without a `parallelism` of its own; "
        "0 = unlimited. Not a sum over executors: a flood on one must not take the slots of another.",
        minimum=0,
    )
    max_active_tasks_per_dag: int = option(
        "16", "Task instances of one DAG queued or running at once, so that one wide DAG leaves room.", minimum=1
    )
    max_active_runs_per_dag: int = option(
        "16", "Runs of one DAG running at once, so that a catchup does not start a year of runs together.", minimum=1
    )
    dags_are_paused_at_creation: bool = option(
        "True", "A new DAG waits for `hybrid dags unpause`, so that saving a file starts nothing."
    )
    default_timezone: str = option(
        "utc", "Time zone of DAG dates without one. UTC has no daylight saving to surprise anybody.", parse=time_zone
    )
    default_task_retries: int = option(
        "0", "`retries` of tasks that set none: a failure is shown, not hidden behind a second try.", minimum=0
    )
    default_task_retry_delay: float = option(
        "300", "`retry_delay` of tasks that set none, in seconds: long enough for an outage to pass.", minimum=0
    )
    default_task_execution_timeout: float | None = option(
        "", "`execution_timeout` of tasks that set none, in seconds; empty = no limit, for only the author knows."
    )
    default_pool_task_slot_count: int = option(
        "128", "Slots of `default_pool` when the database is created: above `parallelism`, so not felt.", minimum=1
    )
    dagbag_import_timeout: float = option(
        "30.0",
        "Seconds that one DAG file may take to import, in a parse process and before a task; 0 = no limit. A file that "
        "hangs becomes an import error.",
        minimum=0,
    )
    killed_task_cleanup_time: float = option(
        "60",
        "Seconds between SIGTERM and SIGKILL for a task that is stopped: time for its `finally` blocks.",
        minimum=0,
    )
    callback_timeout: float = option(
        "60",
        "Seconds that one callback of a task or DAG may take before it is ended. A minute is ample for a message, and "
        "a hung one holds the task's slot for no longer.",
        minimum=0.1,
    )
    execution_api_server_url: str = option(
        "",
        "URL of the task API as workers reach it, such as `http://api-server:8080/execution/v1`; empty = host and port "
        "of `[api]`, for workers on this host.",
        parse=task_api_url,
    )
    executor_routes: str = option(
        "",
        "Where tasks go that name no executor, by what they have: `queue=gpu|kube* -> k8s; tag=nightly, pool=big -> "
        "CeleryExecutor, LocalExecutor`. Rules are separated by `;` or by line, the first that matches counts. "
        "`queue`, `pool`, `tag`, `dag_id` and `task_id` are compared with names; `*` and `?` stand for anything. "
        "Executors after the first are those it falls back to. Empty: all go to the first of `executor`.",
    )
    executor_fallback: str = option(
        "unavailable",
        "When a task that names several executors goes on to the next: `unavailable` (one cannot be reached, is paused "
        "or drains), `full`, `queued_longer_than=SECONDS` (there, without being started), separated by commas; or "
        "`none`. Unavailable, for that is what a second executor is named for; one that is full has a slot soon.",
    )
    missing_executor: str = option(
        "hold",
        "What happens to a task instance whose stored executor is configured no longer: `hold` waits with that reason, "
        "`reroute` uses the default executor, `fail` fails it. Hold, for a restart with a typo must destroy nothing.",
        choices=("hold", "reroute", "fail"),
    )
    fernet_key: str = option(
        "",
        "Key that connections and variables are stored under; several with commas: the first encrypts, all "
        "decrypt, and `hybrid rotate-fernet-key` moves everything to the first. Empty = made once and kept in "
        "`$HYBRID_HOME/fernet.key`, which does where scheduler, API server and DAG processor share a home.",
        sensitive=True,
    )
    hide_sensitive_var_conn_fields: bool = option(
        "True", "Show values whose name says that they are secret, such as `password` or `api_key`, as `***`."
    )
    sensitive_var_conn_names: str = option(
        "", "Further words that make a name sensitive, with commas; they are added to the built-in ones."
    )
    test_connection: str = option(
        "Disabled",
        "Whether `hybrid connections test` may open the connection: it reaches out to whatever host was stored.",
        choices=("Disabled", "Enabled", "Hidden"),
    )
    on_version_mismatch: str = option(
        "run",
        "When a worker finds another version of a DAG file than the attempt was scheduled with: `run` its own and "
        "record that, or `fail` the attempt. Run, because editing a file under running tasks is daily work.",
        choices=("run", "fail"),
    )


@dataclass(frozen=True)
class Database:
    """The metadata database."""

    sql_alchemy_conn: str = option(
        "sqlite:///$HYBRID_HOME/hybrid.db",
        "SQLite (absolute path) or PostgreSQL (`postgresql://…`). SQLite, because it needs no service.",
        parse=database_url,
        sensitive=True,
    )
    sqlite_busy_timeout: float = option(
        "30", "Seconds that a SQLite writer waits for another one before it gives up.", minimum=0
    )
    answer_timeout: float = option(
        "6",
        "Seconds that a daemon waits for any word of a PostgreSQL server before it gives the connection up and makes a "
        "new one: a half-open link, as a proxy or a balancer leaves behind, is waited on for ever otherwise. For locks "
        "of others a statement waits 5 s, at most 0.8 of this. Shorter than three quarters of `lease_seconds`, so that "
        "a scheduler outlives the loss of a link. 0 = wait.",
        minimum=0,
    )
    idle_transaction_timeout: float = option(
        "5",
        "Seconds after which PostgreSQL ends the session of a process that fell silent within a transaction: one that "
        "is frozen, or whose host is gone, holds locks that every scheduler waits for. Sooner than their leases end; "
        "longer than a scheduler thinks between two statements. 0 = never.",
        minimum=0,
    )


@dataclass(frozen=True)
class Logging:
    """Logs of tasks and of the runtime's own processes."""

    base_log_folder: Path = option("$HYBRID_HOME/logs", "Task logs: `dag_id=…/run_id=…/task_id=…/attempt=N.log`.")
    logging_level: str = option(
        "INFO", "DEBUG, INFO, WARNING, ERROR or CRITICAL, for tasks and daemons alike.", parse=log_level
    )
    min_length_masked_secret: int = option(
        "5",
        "Characters that a secret needs to be masked wherever it turns up: `***` for each `1` tells more.",
        minimum=1,
    )
    worker_log_server_host: str = option(
        "127.0.0.1", "Address that the log server listens on; other hosts can read logs once you open it to them."
    )
    worker_log_server_port: int = option(
        "8793", "Port of the log server: the same on every host, for it is where others ask.", parse=port
    )
    worker_log_server_secret: str = option(
        "",
        "Key that signs the tokens for log files, 32 bytes or more; empty = derived from the signing key. Set it where "
        "log servers run on hosts that must not have the signing key: those of remote workers.",
        sensitive=True,
    )


@dataclass(frozen=True)
class Api:
    """The API server."""

    host: str = option("127.0.0.1", "Address that the API server listens on; this host only, until you say otherwise.")
    port: int = option(
        "8080", "Port that the API server listens on; 0 = any free one (`standalone` only).", minimum=0, parse=port
    )


@dataclass(frozen=True)
class ApiAuth:
    """How tokens are signed."""

    jwt_secret: str = option(
        "",
        "Key that signs tokens, 32 bytes or more; the same for scheduler and API server. Empty = made once and kept in "
        "`$HYBRID_HOME/jwt.key`, which does where both share a home.",
        sensitive=True,
    )


@dataclass(frozen=True)
class ExecutionApi:
    """The task API, which workers of other hosts report to."""

    jwt_expiration_time: float = option(
        "600",
        "Seconds that a running task's token is good for. Each heartbeat brings a new one, so it only bounds for how "
        "long a final report may wait for an API that is down.",
        minimum=30,
    )


@dataclass(frozen=True)
class Workers:
    """`hybrid tasks run`, and whatever else reports over HTTP."""

    execution_api_timeout: float = option(
        "5.0", "Seconds that one request to the task API may take before it is repeated.", minimum=0.1
    )
    start_patience: float = option(
        "300",
        "Seconds that a worker tries to reach the task API for a start. Nothing runs meanwhile, so waiting harms "
        "nobody; after it the attempt is dispatched anew.",
        minimum=1,
    )


@dataclass(frozen=True)
class Metrics:
    """Where figures go."""

    statsd_on: bool = option("False", "Send figures to a StatsD server, by UDP.")
    statsd_host: str = option("localhost", "Host of the StatsD server.")
    statsd_port: int = option("8125", "Port of the StatsD server.", parse=port)
    statsd_prefix: str = option("hybrid", "What the name of each figure begins with.")
    prometheus_on: bool = option(
        "True", "Serve `/metrics` on the API server. Names and numbers only; no token is asked for."
    )


@dataclass(frozen=True)
class Scheduler:
    """The scheduler, its leases, and how patient it is."""

    scheduler_heartbeat_sec: float = option(
        "5.0", "Longest time between two heartbeats of an executor, in seconds; events come sooner.", minimum=0.05
    )
    scheduler_idle_sleep_time: float = option(
        "1.0",
        "Seconds after which the inbox is read although no hint came: a lost hint costs this much, no more.",
        minimum=0.05,
    )
    job_heartbeat_sec: float = option(
        "5", "Seconds between two rows that say this scheduler is alive, and how its executors are.", minimum=0.1
    )
    scheduler_health_check_threshold: float = option(
        "30", "Seconds without such a row after which a scheduler is shown as gone: six missed ones.", minimum=1
    )
    lease_seconds: float = option(
        "10",
        "How long a scheduler of another host keeps its runs without a sign of life; after that another one takes "
        "them, at most a quarter of this and 1 s later. Shorter recovers sooner, longer survives a slower database. "
        "It should be more than 9: a frozen process can lock a row for 5 s, and a scheduler that waits for it is not "
        "dead.",
        minimum=1,
    )
    task_heartbeat_sec: float = option("10", "Seconds between two heartbeats of a running attempt.", minimum=0.1)
    task_instance_heartbeat_timeout: float = option(
        "60",
        "Seconds without a heartbeat after which a running attempt is given up. Its supervisor kills it 5 s sooner, so "
        "that a new one never overlaps it.",
        minimum=10,
    )
    task_queued_timeout: float = option(
        "600", "Seconds that an executor may keep an attempt without starting it before it is taken back.", minimum=1
    )
    infra_retries: int = option(
        "2",
        "How often an attempt that the infrastructure lost after its start is repeated, apart from the task's own "
        "`retries`; 0 = charge them, as Airflow does.",
        minimum=0,
    )
    shutdown_grace: float = option(
        "60", "Seconds that local attempts get to finish after SIGTERM before they are stopped.", minimum=0
    )
    executor_call_deadline: float = option(
        "10.0",
        "Seconds that one call into an executor may take before it counts as hung and the executor as unhealthy.",
        minimum=0.1,
    )
    max_dagruns_to_create_per_loop: int = option(
        "10", "Runs created per scheduler loop, so that a catchup does not hold up running tasks.", minimum=1
    )
    max_dagruns_per_loop_to_schedule: int = option(
        "20", "Runs claimed per scheduler loop, for the same reason.", minimum=1
    )
    catchup_by_default: bool = option(
        "False", "`catchup` of DAGs that do not say: a new DAG does not run its past by surprise."
    )


@dataclass(frozen=True)
class DagProcessor:
    """The process that turns DAG files into DAG versions."""

    refresh_interval: float = option(
        "5.0", "Seconds between two looks at the DAGs folder for new, changed and deleted files.", minimum=0.05
    )
    min_file_process_interval: float = option(
        "120.0",
        "Seconds after which a file that did not change is parsed again, for what it reads from elsewhere; a changed "
        "file is parsed at once.",
        minimum=0,
    )
    parsing_processes: int = option("2", "Files parsed at the same time.", minimum=1)


@dataclass(frozen=True)
class Secrets:
    """Where connections and variables come from before the environment and the database are asked."""

    backend: str = option(
        "",
        "Class of the secrets backend, `module.Class`, or `LocalFilesystemBackend`; it is made where tasks run, DAG "
        "files are parsed and `option_secret` is read. Empty = none.",
    )
    backend_kwargs: str = option("", "Its keyword arguments, a JSON object.", sensitive=True)


@dataclass(frozen=True)
class Operators:
    """Defaults of operators."""

    default_queue: str = option("default", "`queue` of tasks that set none.")


SECTIONS: dict[str, type] = {
    "core": Core,
    "database": Database,
    "logging": Logging,
    "api": Api,
    "api_auth": ApiAuth,
    "execution_api": ExecutionApi,
    "workers": Workers,
    "metrics": Metrics,
    "scheduler": Scheduler,
    "dag_processor": DagProcessor,
    "operators": Operators,
    "secrets": Secrets,
}
