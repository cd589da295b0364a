"""Airflow's options (2.x and 3.x) that have another name here, or none: what ``hybrid config lint`` says of them."""

from __future__ import annotations

RENAMED: dict[tuple[str, str], tuple[str, str]] = {
    ("core", "base_log_folder"): ("logging", "base_log_folder"),
    ("core", "dag_concurrency"): ("core", "max_active_tasks_per_dag"),
    ("core", "dag_file_processor_timeout"): ("core", "dagbag_import_timeout"),
    ("core", "logging_level"): ("logging", "logging_level"),
    ("core", "non_pooled_task_slot_count"): ("core", "default_pool_task_slot_count"),
    ("core", "sql_alchemy_conn"): ("database", "sql_alchemy_conn"),
    ("dag_processor", "dag_file_processor_timeout"): ("core", "dagbag_import_timeout"),
    ("logging", "worker_log_server_bind"): ("logging", "worker_log_server_host"),
    ("scheduler", "dag_dir_list_interval"): ("dag_processor", "refresh_interval"),
    ("scheduler", "local_task_job_heartbeat_sec"): ("scheduler", "task_heartbeat_sec"),
    ("scheduler", "max_threads"): ("dag_processor", "parsing_processes"),
    ("scheduler", "min_file_process_interval"): ("dag_processor", "min_file_process_interval"),
    ("scheduler", "parsing_processes"): ("dag_processor", "parsing_processes"),
    ("scheduler", "scheduler_zombie_task_threshold"): ("scheduler", "task_instance_heartbeat_timeout"),
    ("scheduler", "statsd_host"): ("metrics", "statsd_host"),
    ("scheduler", "statsd_on"): ("metrics", "statsd_on"),
    ("scheduler", "statsd_port"): ("metrics", "statsd_port"),
    ("scheduler", "statsd_prefix"): ("metrics", "statsd_prefix"),
    ("scheduler", "task_instance_heartbeat_sec"): ("scheduler", "task_heartbeat_sec"),
    ("webserver", "web_server_host"): ("api", "host"),
    ("webserver", "web_server_port"): ("api", "port"),
    ("workers", "secrets_backend"): ("secrets", "backend"),
    ("workers", "secrets_backend_kwargs"): ("secrets", "backend_kwargs"),
}
GONE: dict[tuple[str, str], str] = {
    ("core", "enable_xcom_pickling"): "XComs are JSON here, always; remove the option",
    ("core", "load_examples"): "no example DAGs are loaded here; copy those you like from dags/, and remove the option",
    ("core", "store_dag_code"): "every version of a DAG is stored here; remove the option",
    ("core", "store_serialized_dags"): "every version of a DAG is stored here; remove the option",
    ("core", "task_runner"): "how attempts run is [local_executor] task_isolation here; remove the option",
    ("dag_processor", "dag_bundle_config_list"): "bundles come later; name the folder in [core] dags_folder",
    ("scheduler", "run_duration"): "a scheduler runs until it is stopped; remove the option",
    ("secrets", "cache_ttl_seconds"): "nothing of a secrets backend is cached here; remove the option",
    ("secrets", "use_cache"): "nothing of a secrets backend is cached here; remove the option",
}
SECTIONS_GONE: dict[str, str] = {
    "email": "the runtime sends no mail; use a callback",
    "kerberos": "there is no Kerberos ticket renewer here",
    "kubernetes": "Airflow's section has another name here: [kubernetes_executor]",
    "sentry": "there is no Sentry integration here",
    "smtp": "the runtime sends no mail; use a callback",
    "triggerer": "deferrable tasks come later; nothing reads this section",
    "webserver": "there is no web server of its own here; host and port are those of [api]",
}
