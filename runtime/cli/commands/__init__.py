"""One module per group of verbs, imported only when one of its verbs is asked for."""
