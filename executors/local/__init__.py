"""Tasks on the scheduler's own host: a zygote forks worker processes, each runs one attempt at a time."""
