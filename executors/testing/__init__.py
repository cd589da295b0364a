"""For tests of executors and of their hosts: a scripted executor, and the contract that every executor keeps.

A third party's whole test file for the contract::

    class TestMyExecutor(ExecutorContract):
        @pytest.fixture
        def executor(self):
            made = MyExecutor(parallelism=2)
            made.start()
            yield made
            made.terminate()

Where launches are no commands on this host, override :meth:`LaunchContract.command_workload` and
:meth:`LaunchContract.processes`.
"""

from executors.testing.bookkeeping import BookkeepingContract
from executors.testing.launches import LaunchContract
from executors.testing.scripted import Hang, ScriptedExecutor


class ExecutorContract(BookkeepingContract, LaunchContract):
    """Inherit it in a test module and give the fixture ``executor``: started, torn down by you.

    ``parallelism`` 2 tells the most; 1 and 0 (unlimited) are fine.
    """


__all__ = ["BookkeepingContract", "ExecutorContract", "Hang", "LaunchContract", "ScriptedExecutor"]
