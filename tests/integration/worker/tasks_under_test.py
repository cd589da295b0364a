"""The DAG file that the tests' workers run: one task per behaviour."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time

from runtime import DAG, BaseOperator, BashOperator, FailTask, SkipTask, get_current_context, task
from runtime.authoring.exceptions import TaskError

log = logging.getLogger("my.module")
DAEMON = (
    "import os, signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "os.setsid()\n"
    "print(os.getpid(), flush=True)\n"
    "time.sleep(1000)\n"
)


def note(name, text):
    """Leave a file that the test finds."""
    with open(os.path.join(os.environ["NOTES"], name), "a") as file:
        file.write(text)


def one(**options):
    """``@task``, called once."""
    return lambda function: task(**options)(function)()


class Cleaning(BaseOperator):
    """Waits for ever, cleans up when it is stopped."""

    def execute(self, context):
        try:
            with subprocess.Popen(["sleep", "1000"]) as self.process:
                note("running", str(os.getpid()))
        finally:
            note("finally", "done")

    def on_kill(self):
        self.process.kill()
        note("on_kill", "done")


with DAG("d", params={"colour": "red", "size": 1}):

    @one()
    def succeeds():
        return None

    @one()
    def returns():
        return {"a": [1, 2.5, None, "ü"]}

    @one(retry_delay=7)
    def fails():
        raise ValueError("no luck\nwith more")

    @one()
    def skips():
        raise SkipTask("nothing to do")

    @one()
    def fails_for_good():
        raise FailTask("hopeless")

    @one()
    def returns_a_set():
        return {"deep": [{1}]}

    @one()
    def exits_0():
        sys.exit(0)

    @one()
    def exits_3():
        sys.exit(3)

    @one()
    def pushes(ti):
        ti.xcom_push("colour", "blue")
        return ti.xcom_pull(key="colour")

    @one()
    def pulls(ti):
        one = ti.xcom_pull(task_ids="returns")
        return [one, ti.xcom_pull(task_ids=["returns", "nobody"]), ti.xcom_pull(task_ids="nobody", default="none")]

    @task
    def takes(value):
        return value["a"][0]

    takes(returns)

    @one()
    def tells(ti, ds, params, dag_run, run_id):
        same = get_current_context()["ti"] is ti
        return [ds, params, dag_run.conf, run_id, ti.try_number, same, os.environ["HYBRID_ATTEMPT_ID"]]

    @one()
    def forks_and_pulls(ti):
        pid = os.fork()
        if pid == 0:
            try:
                ti.xcom_pull(task_ids="returns")
            except RuntimeError as error:
                note("error", str(error))
            os._exit(0)
        os.waitpid(pid, 0)

    @one()
    def speaks():
        print("to stdout")
        print("to stderr", file=sys.stderr)
        log.warning("by logging %d", 7)
        subprocess.run(["sh", "-c", "echo from a subprocess"], check=True)
        os.write(2, b"raw bytes\n")
        print("no line end", end="")

    @one()
    def floods():
        line = "x" * 99
        for _ in range(500):
            print("\n".join([line] * 1000))
        subprocess.run(["sh", "-c", "head -c 10000000 /dev/zero | tr '\\0' 'y'; echo"], check=True)
        print("the end")

    @one()
    def prints_and_dies():
        print("last words")
        os.kill(os.getpid(), signal.SIGKILL)

    @one()
    def exits_hard():
        os._exit(3)

    @one()
    def segfaults():
        ctypes.string_at(0)

    @one(retry_delay=9)
    def sleeps():
        note("running", str(os.getpid()))
        time.sleep(1000)

    @one()
    def ignores_sigterm():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("running", str(os.getpid()))
        while True:
            time.sleep(1000)

    @one()
    def swallows():
        note("running", str(os.getpid()))
        while True:
            try:
                time.sleep(1000)
            except Exception:
                continue

    @one(execution_timeout=0.2, retry_delay=9)
    def takes_too_long():
        time.sleep(1000)

    @one(execution_timeout=0.2)
    def takes_too_long_and_swallows():
        note("running", str(os.getpid()))
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                continue

    Cleaning(task_id="cleans_up")

    @one()
    def leaves_a_family():
        subprocess.Popen(["sh", "-c", "sleep 1000 & sleep 1000"])
        daemon = subprocess.Popen([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, text=True)
        note("pids", daemon.stdout.readline())

    @one()
    def leaves_a_family_and_hangs():
        daemon = subprocess.Popen([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, text=True)
        note("pids", daemon.stdout.readline())
        note("running", str(os.getpid()))
        time.sleep(1000)

    @one()
    def leaves_a_thread():
        threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()

    @one()
    def remembers():
        sys.modules.setdefault("remembered_by_a_test", []).append(1)
        return len(sys.modules["remembered_by_a_test"])

    @one()
    def knows_its_pid():
        return [os.getpid(), os.getsid(0), os.environ.get("PYTHONPATH")]

    BashOperator(task_id="bash", bash_command="echo {{ ds }} {{ params.colour }} {{ macros.ds_add(ds, 1) }}")
    BashOperator(
        task_id="bash_hangs", bash_command="echo $$ >> $NOTES/pids; sleep 1000 & sleep 1000", append_env=True, env={}
    )

    @one()
    def undated():
        return "ds" in get_current_context()

    @one()
    def asks_for_the_past():
        return get_current_context()["prev_ds"]

    @one()
    def raises_task_error():
        raise TaskError("one line")
