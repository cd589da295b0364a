"""The DAG file whose tasks have callbacks: each leaves a line for the test."""

import os
import signal
import time

from runtime import DAG, SkipTask, get_current_context, task


def note(text):
    with open(os.path.join(os.environ["NOTES"], "calls"), "a") as file:
        file.write(f"{text}\n")


def told(kind):
    def tell(context):
        ti = context["ti"]
        error = type(context.get("exception")).__name__
        note(f"{kind} {ti.task_id} {ti.state} {error} {context.get('reason')} {get_current_context() is context}")

    return tell


def breaks(context):
    raise ZeroDivisionError("in a callback")


def hangs(context):
    try:
        time.sleep(1000)
    except Exception:
        note("it must not be swallowed")


def leaves(context):
    os._exit(3)


def kills(context):
    os.kill(os.getpid(), signal.SIGKILL)


def pulls(context):
    note(f"pulled {context['ti'].xcom_pull('other')}")


def one(**arguments):
    """Make a task of a function at once."""
    return lambda function: task(**arguments)(function)()


ALL = {f"on_{kind}_callback": told(kind) for kind in ("execute", "success", "failure", "retry", "skipped")}

with DAG("d", default_args=ALL):

    @one()
    def succeeds():
        note("body")
        return 1

    @one(retries=1, retry_delay=1)
    def fails():
        raise ValueError("no luck")

    @one()
    def skips():
        raise SkipTask("nothing to do")

    @one(execution_timeout=0.2)
    def takes_too_long():
        time.sleep(1000)

    @one()
    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    @one()
    def waits():
        note("running")
        time.sleep(1000)

    @one(on_failure_callback=[breaks, told("failure")])
    def has_a_broken_one():
        raise ValueError("no luck")

    @one(on_success_callback=[hangs, told("success")])
    def has_one_that_hangs():
        return 2

    @one(on_success_callback=leaves)
    def has_one_that_leaves():
        return 3

    @one(on_failure_callback=kills)
    def has_one_that_kills():
        raise ValueError("no luck")

    @one(on_success_callback=pulls)
    def has_one_that_pulls():
        return None

    @one(on_execute_callback=breaks)
    def has_a_broken_beginning():
        return 4

    @one(retries=3, retry_delay=10, retry_exponential_backoff=3, max_retry_delay=100)
    def backs_off():
        raise ValueError("no luck")
