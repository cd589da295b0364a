"""The task service: what worker processes may ask for and report. One service; a pipe and HTTP carry to it."""
