"""Tasks that run a command line."""

from __future__ import annotations

import codecs
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar

from runtime.authoring.arguments import flag, mapping
from runtime.authoring.arguments import text as non_empty
from runtime.authoring.baseoperator import BaseOperator
from runtime.authoring.exceptions import ArgumentError, SkipTask, TaskError
from runtime.authoring.lifeline import lifeline
from runtime.authoring.references import Reference

LONGEST_LINE = 65_536
"""Bytes; a longer line of output is logged in pieces, so that a command without line ends needs no memory."""
_ATTEMPT = "HYBRID_ATTEMPT_ID"
"""Marks every process of an attempt, so that recovery finds them: kept also where ``env`` replaces the environment."""


class BashOperator(BaseOperator):
    """Runs ``bash -c bash_command``. The last line of its output is the XCom; each line goes to the log as it comes.

    :param env: the command's environment; with ``append_env`` on top of this process's.
    :param cwd: working directory; without it the command runs in a temporary one, removed afterwards.
    :param skip_on_exit_code: exit code, or list of them, that end the task as skipped.
    :param output_encoding: of its output; bytes that are none of it are shown as ``\\xff``.
    :param output_processor: makes the XCom out of the last line, ``json.loads`` for example.
    """

    template_fields: ClassVar[Sequence[str]] = ("bash_command", "env", "cwd")
    template_ext: ClassVar[Sequence[str]] = (".sh", ".bash")

    def __init__(
        self,
        *,
        bash_command: str,
        env: Mapping[str, str] | None = None,
        append_env: bool = False,
        cwd: str | None = None,
        skip_on_exit_code: int | Collection[int] | None = 99,
        output_encoding: str = "utf-8",
        output_processor: Callable[[str], Any] = str,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        where = f"task {self.task_id!r}"
        self.bash_command: Any = (
            bash_command if isinstance(bash_command, Reference) else non_empty(where, "bash_command", bash_command)
        )
        self.env: Any = env if env is None or isinstance(env, Reference) else mapping(where, "env", env)
        self.append_env = flag(where, "append_env", append_env)
        self.cwd = cwd
        self.skip_on_exit_code = _codes(where, skip_on_exit_code)
        self.output_encoding = _encoding(where, output_encoding)
        if not callable(output_processor):
            raise ArgumentError(f"{where}: output_processor must be a function, not {output_processor!r}")
        self.output_processor = output_processor
        self._process: subprocess.Popen[bytes] | None = None

    def execute(self, context: Mapping[str, Any]) -> Any:
        """The last line of output, as ``output_processor`` makes it.

        Raises :class:`TaskError` for an exit code other than 0, :class:`SkipTask` for one of ``skip_on_exit_code``.
        """
        with self._working_directory() as folder:
            self.log.info("running bash command: %s", self.bash_command)
            self._process = _start(self.bash_command, self._environment(), folder)
            try:
                last = ""
                for last in _lines(self._process, self.output_encoding):
                    self.log.info("%s", last)
                code = self._process.wait()
            except BaseException:
                self.on_kill()
                raise
        if code in self.skip_on_exit_code:
            raise SkipTask(f"bash command exited with {code}")
        if code < 0:
            raise TaskError(f"bash command was killed by {signal.Signals(-code).name}")
        if code:
            raise TaskError(f"bash command exited with {code}")
        return self.output_processor(last)

    def on_kill(self) -> None:
        """SIGTERM to the command and everything that it started; SIGKILL is the supervisor's part."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        for member in _stopped_family(process.pid):
            for send in (signal.SIGTERM, signal.SIGCONT):
                with suppress(ProcessLookupError):
                    os.kill(member, send)

    def _environment(self) -> dict[str, str] | None:
        if self.env is None:
            return None
        env = {**os.environ, **self.env} if self.append_env else dict(self.env)
        for name, value in env.items():
            if not isinstance(value, str):
                raise TaskError(f"env[{name!r}] must be a string, not {value!r}")
        if _ATTEMPT in os.environ:
            env[_ATTEMPT] = os.environ[_ATTEMPT]
        return env

    @contextmanager
    def _working_directory(self) -> Iterator[str]:
        if self.cwd is None:
            import tempfile

            with tempfile.TemporaryDirectory(prefix="hybrid-", ignore_cleanup_errors=True) as folder:
                yield folder
            return
        if not os.path.isdir(self.cwd):
            raise TaskError(f"cwd {self.cwd!r} is no folder")
        yield self.cwd


def _encoding(where: str, name: object) -> str:
    try:
        return codecs.lookup(non_empty(where, "output_encoding", name)).name
    except LookupError:
        raise ArgumentError(
            f"{where}: output_encoding {name!r} is no encoding that Python knows; try 'utf-8'"
        ) from None


def _codes(where: str, value: int | Collection[int] | None) -> frozenset[int]:
    codes: list[Any] = [] if value is None else [value] if isinstance(value, int) else list(value)
    if not all(isinstance(code, int) and not isinstance(code, bool) and 0 < code < 256 for code in codes):
        raise ArgumentError(f"{where}: skip_on_exit_code must be exit codes of 1 to 255, not {value!r}")
    return frozenset(codes)


def _start(command: str, env: dict[str, str] | None, folder: str) -> subprocess.Popen[bytes]:
    """Start bash in this process group, which the supervisor kills; a session of its own would escape it.

    ``preexec_fn`` is safe here: the process of a task starts no threads of its own.
    """
    bash = shutil.which("bash")
    if bash is None:
        raise TaskError("there is no bash on this machine's PATH")
    return subprocess.Popen(
        [bash, "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=folder,
        preexec_fn=lifeline(),  # noqa: PLW1509  see above
    )


def _stopped_family(pid: int) -> list[int]:
    """The process and its descendants, all stopped: each before its children are listed, so that none slips by."""
    import psutil

    try:
        os.kill(pid, signal.SIGSTOP)
        children = psutil.Process(pid).children()
    except (ProcessLookupError, psutil.NoSuchProcess):
        return []
    return [pid, *(member for child in children for member in _stopped_family(child.pid))]


def _lines(process: subprocess.Popen[bytes], encoding: str) -> Iterator[str]:
    assert process.stdout is not None
    with process.stdout as output:
        while line := output.readline(LONGEST_LINE):
            yield line.decode(encoding, "backslashreplace").rstrip()
