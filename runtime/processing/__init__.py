"""Turns DAG files into data: one forked child per file, one answer or one error from each, whatever the file does."""
