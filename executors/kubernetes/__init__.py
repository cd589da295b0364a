"""KubernetesExecutor: a pod per attempt, on one cluster or several.

Only this package imports the Kubernetes client, and only once an executor has been started.
"""
