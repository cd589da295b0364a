"""From a workload to a pod's manifest: template, generated part, ``executor_config``, mutation hook.

Manifests are plain dictionaries with the API's own camelCase names; the client's models only say which fields exist.
Nothing here talks to a cluster. What is wrong with a configuration is one :class:`PodConfigError` with file and field.
"""
