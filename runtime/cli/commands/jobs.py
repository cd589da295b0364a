"""``hybrid jobs …``."""

from __future__ import annotations

import socket
from argparse import ArgumentParser, Namespace

from runtime.cli.command import UsageError, Verb, load_settings
from runtime.core.errors import HybridError

TYPES = ("SchedulerJob", "DagProcessorJob", "ApiServerJob", "TriggererJob")


def _check(args: Namespace) -> int:
    from runtime.db.engine import open_database
    from runtime.db.jobs import live_jobs

    if args.allow_multiple and args.limit == 1:
        raise UsageError("--allow-multiple makes sense with --limit 0 (no limit) or above 1 only")
    if args.limit < 0:
        raise UsageError("--limit must be 0 (no limit) or more")
    if args.local and args.hostname:
        raise UsageError("--local is --hostname with this host's name; give one of them")
    settings = load_settings()
    host = socket.gethostname() if args.local else args.hostname
    database = open_database(settings)
    try:
        with database.read() as connection:
            threshold = settings.scheduler.scheduler_health_check_threshold
            found = live_jobs(connection, job_type=args.job_type, hostname=host, scheduler_seconds=threshold)
    finally:
        database.close()
    found = found[: args.limit] if args.limit else found
    if not found:
        raise HybridError("no alive jobs found")
    if len(found) > 1 and not args.allow_multiple:
        raise HybridError(f"found {len(found)} alive jobs; expected only one (--allow-multiple)")
    print("found one alive job" if len(found) == 1 else f"found {len(found)} alive jobs")
    return 0


def _check_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--job-type", choices=TYPES, help="(default: any)")
    parser.add_argument("--hostname", metavar="HOST", help="only jobs of this host")
    parser.add_argument("--local", action="store_true", help="only jobs of this host here")
    parser.add_argument("--limit", type=int, default=1, metavar="N", help="look at the newest N, 0 = all (default: 1)")
    parser.add_argument("--allow-multiple", action="store_true", help="more than one is fine, too")


VERBS = {"check": Verb("exit 0 when a daemon is alive, 1 when none is", _check, _check_arguments)}
