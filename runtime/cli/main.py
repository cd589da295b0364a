"""Find the verb, build its parser only, run it, and turn whatever happens into an exit code.

Exit codes: 0 ok, 1 failure, 2 usage, 130 interrupted, 141 when the reader of stdout went away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.cli.command import Group, Verb

GROUPS = {
    "dags": ("list, trigger, test, pause DAGs and list their runs", "dags"),
    "tasks": ("list, inspect and clear task instances, read their logs", "tasks"),
    "backfill": ("make the runs of a stretch of the past, and see to it", "backfill"),
    "executors": ("list the configured executors and how they are", "executors"),
    "pools": ("list, create, change, import and export pools", "pools"),
    "variables": ("get, set, list, import and export variables", "variables"),
    "connections": ("get, set, list, import and export connections", "connections"),
    "jobs": ("check whether schedulers and other daemons are alive", "jobs"),
    "config": ("show and check the configuration", "config"),
    "db": ("create, check, clean or reset the metadata database", "db"),
}
"""Group → (help, module below ``runtime.cli.commands``)."""
SINGLE = {
    "standalone": ("everything at once: database, scheduler, DAG processor, API server", "daemons"),
    "scheduler": ("run a scheduler until SIGTERM or Ctrl-C", "daemons"),
    "dag-processor": ("run the process that reads the DAGs folder", "daemons"),
    "api-server": ("serve the task API and health over HTTP", "daemons"),
    "serve-logs": ("serve this host's task logs to the other hosts", "daemons"),
    "rotate-fernet-key": ("encrypt connections and variables under the newest key", "keys"),
    "completion": ("print a completion script for bash, zsh or fish", "completion"),
    "info": ("say where things are and what runs", "info"),
    "version": ("print the version", ""),
}

RESERVED = frozenset({*GROUPS, *SINGLE, "help"})
"""Names that no executor may take."""


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit code. Never raises but ``SystemExit`` from ``--help``."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _dispatch(words)
        if sys.stdout:
            sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("hybrid: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The interpreter flushes stdout once more at exit; it must not meet the closed pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except Exception as error:
        if os.environ.get("HYBRID_TRACEBACK"):
            raise
        return _report(error)


def _dispatch(words: list[str]) -> int:
    name, rest = (words[0], words[1:]) if words else ("--help", [])
    if name in ("version", "--version", "-V") and not rest:
        from runtime.version import VERSION

        print(VERSION)
        return 0
    if name in ("--help", "-h", "help"):
        print(_overview())
        return 0 if words else 2
    if name in GROUPS:
        return _group(name, rest)
    if name in SINGLE:
        return _run(f"hybrid {name}", _verbs(SINGLE[name][1] or "info")[name], rest)
    from runtime.cli.vended import vended_verbs

    vended = vended_verbs(RESERVED)
    if name in vended:
        return _follow(f"hybrid {name}", vended[name], rest)
    raise _unknown("hybrid", name, [*GROUPS, *SINGLE, *vended])


def _group(name: str, words: list[str]) -> int:
    return _choose(f"hybrid {name}", _verbs(GROUPS[name][1]), words)


def _follow(prog: str, verb: Verb | Group, words: list[str]) -> int:
    from runtime.cli.command import Group

    return _choose(prog, verb.verbs, words) if isinstance(verb, Group) else _run(prog, verb, words)


def _choose(prog: str, verbs: Mapping[str, Verb | Group], words: list[str]) -> int:
    """Run the verb of a group that ``words`` name, or show the group."""
    if not words or words[0] in ("--help", "-h", "help"):
        lines = [f"usage: {prog} VERB …", "", *(f"  {name:<20} {verb.help}" for name, verb in verbs.items())]
        print("\n".join(lines), file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] not in verbs:
        raise _unknown(prog, words[0], list(verbs))
    return _follow(f"{prog} {words[0]}", verbs[words[0]], words[1:])


def _run(prog: str, verb: Verb, words: list[str]) -> int:
    from runtime.cli.command import parse

    return verb.run(parse(prog, verb, words))


def _verbs(module: str) -> dict[str, Verb]:
    import importlib

    verbs: dict[str, Verb] = importlib.import_module(f"runtime.cli.commands.{module}").VERBS
    return verbs


def _unknown(prog: str, word: str, known: list[str]) -> Exception:
    import difflib

    from runtime.cli.command import UsageError

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"did you mean `{prog} {near[0]}`?" if near else f"choose from {', '.join(known)}"
    return UsageError(f"there is no `{prog} {word}`; {hint}")


def _overview() -> str:
    lines = ["usage: hybrid VERB …", ""]
    lines += [f"  {name:<15} {about}" for name, (about, _) in {**SINGLE, **GROUPS}.items()]
    if vended := _vended_for_help():
        lines += ["", "of the configured executors:"]
        lines += [f"  {name:<15} {verb.help}" for name, verb in vended.items()]
    lines += ["", "`hybrid VERB --help` says more. Start with `hybrid standalone`."]
    return "\n".join(lines)


def _vended_for_help() -> Mapping[str, Verb | Group]:
    """Where the configuration is broken, help must still be given."""
    from runtime.cli.vended import vended_verbs

    try:
        return vended_verbs(RESERVED)
    except Exception as error:
        _report(error)
        return {}


def _report(error: Exception) -> int:
    from executors.errors import ExecutorError
    from runtime.cli.command import UsageError
    from runtime.core.errors import HybridError

    message = " ".join(str(error).split())
    if isinstance(error, UsageError):
        print(f"hybrid: {message}", file=sys.stderr)
        return 2
    if isinstance(error, HybridError | ExecutorError):
        print(f"hybrid: {message}", file=sys.stderr)
    elif type(error).__name__ == "OperationalError":
        # By its name, for SQLAlchemy need not be there. What was asked for has not been done.
        away = " ".join(str(getattr(error, "orig", error)).split())
        print(f"hybrid: the metadata DB is not to be had: {away}", file=sys.stderr)
    else:
        print(f"hybrid: unexpected {type(error).__name__}: {message} (HYBRID_TRACEBACK=1 shows where)", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
