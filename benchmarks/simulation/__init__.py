"""The scheduler against simulated executors, in virtual time: ``python -m benchmarks.simulation``.

Loop, steps, routing, limits, fallback, losses, orders, task service and database are the real ones. Simulated are time,
which jumps to the next event, and what lies behind a lane: an executor, its backend, and the workers there.
"""
