"""The DAG file of the attempts: one task per behaviour. Each attempt has it under another name, and so another DAG."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from runtime import (
    DAG,
    BranchPythonOperator,
    EmptyOperator,
    FailTask,
    SkipTask,
    TriggerDagRunOperator,
    get_current_context,
    task,
)

DAEMON = (
    "import os, signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "os.setsid()\n"
    "print(os.getpid(), flush=True)\n"
    "time.sleep(1000)\n"
)


def note(name, text):
    """Leave a line that the test finds."""
    with open(os.path.join(os.environ["NOTES"], name), "a") as file:
        file.write(f"{text}\n")


def wait_for(name):
    while not os.path.exists(os.path.join(os.environ["NOTES"], name)):
        time.sleep(0.005)


def one(**options):
    """``@task``, called once."""
    return lambda function: task(**options)(function)()


with DAG(Path(__file__).stem):
    BranchPythonOperator(task_id="branches", python_callable=lambda: "left") >> [
        EmptyOperator(task_id="left"),
        EmptyOperator(task_id="right"),
    ]
    TriggerDagRunOperator(task_id="triggers", trigger_dag_id="child", conf={"n": 1})

    @one()
    def succeeds():
        note("ran", os.getpid())

    @one()
    def returns():
        return {"a": [1, 2.5, None, "ü"]}

    @one()
    def fails():
        raise ValueError("no luck")

    @one()
    def fails_for_good():
        raise FailTask("hopeless")

    @one()
    def skips():
        raise SkipTask("nothing to do")

    @one()
    def pushes_and_pulls():
        ti = get_current_context()["ti"]
        ti.xcom_push("k", {"n": 1})
        note("pushed", "yes")
        return [ti.xcom_pull(task_ids="pushes_and_pulls", key="k"), ti.xcom_pull(task_ids="nobody", default="none")]

    @one()
    def pulls_when_told():
        note("running", os.getpid())
        wait_for("go")
        return get_current_context()["ti"].xcom_pull(task_ids="nobody", default="none")

    @one()
    def waits():
        note("running", os.getpid())
        wait_for("go")
        return "went"

    @one()
    def sleeps():
        note("running", os.getpid())
        try:
            time.sleep(1000)
        finally:
            note("finally", "done")

    @one()
    def ignores_sigterm():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note("running", os.getpid())
        while True:
            time.sleep(1)

    @one()
    def leaves_processes():
        child = subprocess.Popen(["sleep", "1000"])
        daemon = subprocess.Popen([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, text=True)
        note("left", child.pid)
        note("left", daemon.stdout.readline().strip())
        daemon.stdout.close()

    @one()
    def leaves_processes_and_sleeps():
        daemon = subprocess.Popen([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, text=True)
        note("left", daemon.stdout.readline().strip())
        note("running", os.getpid())
        time.sleep(1000)

    @one()
    def floods():
        for number in range(20_000):
            print("x" * 100, number)

    @one()
    def talks():
        print("the first word")
        note("running", os.getpid())
        wait_for("go")
        print("the last word")

    @one()
    def crashes():
        for number in range(20_000):
            print("x" * 100, number)
        print("the last word")
        os.kill(os.getpid(), signal.SIGKILL)

    @one()
    def ends_well_on_sigterm():
        stopped = []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
        note("running", os.getpid())
        while not stopped:
            time.sleep(0.01)

    @one()
    def shows_itself():
        note("stdin", os.readlink("/proc/self/fd/0"))
        note("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
        note("modules", " ".join(sys.modules))
        print("ENVIRONMENT", dict(os.environ))
        print("KERNEL", Path("/proc/self/environ").read_bytes())
        print("SUPERVISOR", Path(f"/proc/{os.getppid()}/environ").read_bytes())
        print("ARGV", Path("/proc/self/cmdline").read_bytes(), Path(f"/proc/{os.getppid()}/cmdline").read_bytes())
        env = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
        print("EXECUTED", env)

    @one()
    def shows_its_environment():
        note("environment", json.dumps(dict(os.environ)))
