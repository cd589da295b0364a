"""HTTP: the task API for workers, and health for whoever watches. One process, one event loop, one database thread."""
