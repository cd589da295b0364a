"""One command that hurts a whole hybrid deployment for as long as it works, and then looks whether anything went wrong.

``python -m tests.faults.harness --attempts 10000 --faults 500 --seed 1`` brings up PostgreSQL, Redis, two schedulers, a
DAG processor, an API server and two Celery workers, lets them run attempts on three executors, strikes by a seeded
plan, waits until all has ended, and checks the invariants of design §10 from the database, the journals of the tasks,
the broker and the process table. :mod:`harness.plan` says what is struck when, :mod:`harness.work` what is run
meanwhile, :mod:`harness.verdict` what counts as lost, doubled, wrong and leaked.
"""
