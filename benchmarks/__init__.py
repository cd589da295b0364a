"""Benchmarks of the hybrid runtime beside the bare limits of the machine: ``python -m benchmarks``.

Every family of figures is a function from a :class:`~benchmarks.plan.Plan` to figures, in a module of its own; what is
measured runs in child processes, which this package starts and ends.
"""
