"""A pod tries to get where a task has no business: to the database, to Kubernetes, to Kubernetes' token."""

import os
import socket

from runtime import DAG, task

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"

with DAG("closed"):

    @task(executor="k8s")
    def try_all() -> list[str]:
        """What it got at; nothing, where all is well."""
        found = [TOKEN] if os.path.exists(TOKEN) else []
        for place in (("postgres.hybrid", 5432), ("kubernetes.default", 443)):
            try:
                socket.create_connection(place, 3).close()
                found.append(place[0])
            except OSError:
                continue
        print("open:", found)
        if found:
            raise RuntimeError(f"a task gets at {found}")
        return found

    try_all()
