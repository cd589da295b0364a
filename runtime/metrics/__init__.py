"""Figures: collected in each process, kept in its database row, shown by the API server; StatsD where it is wanted."""
