"""Serves the attempt logs of this host to whoever has a token for one, and reads those of other hosts."""
