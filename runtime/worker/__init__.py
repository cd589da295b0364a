"""Runs attempts: supervises one child process per attempt, and is user code's side of the task service.

Imports neither the database nor the API: a worker talks through one seam, :mod:`runtime.worker.reporter`.
"""
