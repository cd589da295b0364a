"""Connections and variables as data, where their values come from, and how they are kept out of what people read.

Knows neither a database nor settings: a worker needs it without either. :mod:`masking` must stay cheap to import.
"""
