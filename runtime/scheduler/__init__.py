"""The scheduler: reads what happened, decides in pure functions, writes all of it in one transaction, hands over."""
