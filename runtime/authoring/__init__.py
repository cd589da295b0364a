"""What DAG files are written with, and how a file of them is loaded and turned into data.

Users import from :mod:`runtime`. The parse child and workers use :mod:`~runtime.authoring.loader` and
:mod:`~runtime.authoring.serialize`. Knows neither the database nor the configuration; values that come from the
configuration arrive as :class:`~runtime.authoring.defaults.Defaults`.
"""
